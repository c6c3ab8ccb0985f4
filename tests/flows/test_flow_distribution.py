import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxflow.flows import CFlowDecoder, Chain, GlobalAffine, Split, Squeeze, position_log_prob
from jaxflow.flows.distrax import FlowBijector, flow_distribution

# November 2026: TensorFlow Probability's JAX substrate under distrax 0.1.9.
pytestmark = pytest.mark.filterwarnings("ignore:jax.core:DeprecationWarning")


NAMES = ("fastflow_odd_soft", "fastflow_conditional", "mixed_chain", "cflow", "uflow_additive")


@pytest.mark.parametrize("name", NAMES)
def test_log_prob_is_the_sum_over_positions(flows, build, name):
    case = build(flows[name], np.float32)
    log_prob = position_log_prob(*case.forward(case.x))
    expected = log_prob.sum(tuple(range(1, log_prob.ndim)))
    distribution = flow_distribution(case.flow, case.variables, case.member.shape, case.condition)
    got = jax.jit(distribution.log_prob)(case.x)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-4)


def test_position_log_prob_equals_scipy():
    z = np.random.default_rng(0).standard_normal((2, 3, 5))
    log_det = np.arange(6.0).reshape(2, 3)
    expected = stats.norm.logpdf(z).sum(-1) + log_det
    got = position_log_prob(jnp.asarray(z), jnp.asarray(log_det))
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_density_integrates_to_one(draw_variables):
    flow = CFlowDecoder(steps=2)
    variables = draw_variables(flow, jnp.zeros((1, 2)), None)
    distribution = flow_distribution(flow, variables, (2,))
    axis = jnp.linspace(-12.0, 12.0, 481)
    log_prob = jax.jit(distribution.log_prob)(jnp.stack(jnp.meshgrid(axis, axis), -1))
    area = float(axis[1] - axis[0]) ** 2
    assert float(jnp.exp(log_prob).sum()) * area == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("name", ["fastflow_3_1", "uflow_hard"])
def test_samples_are_scored_as_they_were_drawn(flows, build, name):
    case = build(flows[name], np.float32)
    distribution = flow_distribution(case.flow, case.variables, case.member.shape)
    assert distribution.event_shape == case.member.shape

    @jax.jit
    def draw(key):
        return distribution.sample_and_log_prob(seed=key, sample_shape=(5,))

    x, log_prob = draw(jax.random.key(2))
    assert x.shape == (5, *case.member.shape)
    assert log_prob.shape == (5,)
    again = jax.jit(distribution.log_prob)(x)
    np.testing.assert_allclose(again, log_prob, rtol=1e-4)


def test_samples_follow_the_density(flows, build):
    case = build(flows["uflow_hard"], np.float32)
    distribution = flow_distribution(case.flow, case.variables, case.member.shape)
    draw = jax.jit(lambda key: distribution.sample(seed=key, sample_shape=(20_000,)))
    latents, _ = case.forward(draw(jax.random.key(0)))
    np.testing.assert_allclose(latents.mean(0), 0.0, atol=0.03)
    np.testing.assert_allclose(jnp.cov(latents.T), jnp.eye(4), atol=0.04)


def test_bijector_goes_back_and_forth(flows, build):
    case = build(flows["fastflow_3_1"], np.float32)
    bijector = FlowBijector(case.flow, case.variables)
    z, log_det = jax.jit(bijector.forward_and_log_det)(case.x)
    x, back_log_det = jax.jit(bijector.inverse_and_log_det)(z)
    assert log_det.shape == case.x.shape[:1]
    np.testing.assert_allclose(x, case.x, atol=1e-4)
    np.testing.assert_allclose(back_log_det, -log_det, rtol=1e-4)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (6, "event_shape must be a sequence of integers, got 6"),
        ((6.0,), "a size of event_shape must be an integer, got 6.0"),
        ((7,), "event_shape must be one the flow takes, got (7,): "),
        ((), "event_shape must be one the flow takes, got (): "),
    ],
)
def test_an_event_of_another_shape_is_refused_before_use(flows, build, shape, message):
    case = build(flows["uflow_hard"], np.float32)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        flow_distribution(case.flow, case.variables, shape)


def test_a_flow_that_changes_the_grid_has_a_distribution(draw, draw_variables):
    flow, x = Chain([Squeeze(), GlobalAffine()]), jnp.asarray(draw((4, 4, 2)), jnp.float32)
    variables = draw_variables(flow, x, None)
    distribution = flow_distribution(flow, variables, (4, 4, 2))
    by_position = flow.apply(variables, x, method="log_prob")
    np.testing.assert_allclose(distribution.log_prob(x), by_position.sum((1, 2)), rtol=1e-5)
    assert distribution.sample(seed=jax.random.key(0), sample_shape=(3,)).shape == (3, 4, 4, 2)
    with pytest.raises(ValueError, match="^the flow must map to one array, got 2"):
        flow_distribution(Split(), {}, (4, 4, 2))


@pytest.mark.filterwarnings("ignore:jax.core:DeprecationWarning")
def test_a_distribution_promotes_no_rank(draw_variables):
    with jax.numpy_rank_promotion("raise"):
        code = jnp.ones((2, 3, 8))
        flow, x = CFlowDecoder(steps=1), jnp.ones((4, 2, 3, 6))
        distribution = flow_distribution(flow, draw_variables(flow, x, code), (2, 3, 6), code)
        assert jax.eval_shape(distribution.log_prob, x).shape == (4,)
        sample, density = jax.eval_shape(
            lambda key: distribution.sample_and_log_prob(seed=key, sample_shape=(5,)),
            jax.random.key(1),
        )
        assert (sample.shape, density.shape) == ((5, 2, 3, 6), (5,))
