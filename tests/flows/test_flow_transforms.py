import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxflow.flows import CFlowDecoder, FastFlow2D, position_log_prob
from jaxflow.flows.permutation import permute_channels


def test_jit_equals_no_jit(member, build):
    if member.steps > 3:
        pytest.skip("the same code as fewer steps, and slow without jit")
    case = build(member, np.float32)
    arguments = case.variables, case.x, case.condition
    for method, jitted in (
        ("forward_and_log_det", case.forward),
        ("inverse_and_log_det", case.inverse),
    ):
        plain = case.flow.apply(*arguments, method=method)
        for got, expected in zip(jitted(case.x), plain, strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
    called = case.flow.apply(*arguments)
    np.testing.assert_allclose(called, case.forward(case.x)[0], rtol=1e-5, atol=1e-5)


def test_vmap_equals_a_loop(member, build, quick):
    case = build(member, np.float32)
    groups = jnp.stack([case.x, 2.0 * case.x, case.x[::-1]])
    z, log_det = jax.jit(jax.vmap(case.forward), compiler_options=quick)(groups)
    for i, group in enumerate(groups):
        one_z, one_log_det = case.forward(group)
        np.testing.assert_allclose(z[i], one_z, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(log_det[i], one_log_det, rtol=1e-4, atol=1e-5)


def test_one_input_does_not_depend_on_its_batch(member, build):
    case = build(member, np.float32)
    z, log_det = case.forward(case.x)
    other_z, other_log_det = case.forward(case.x.at[0].multiply(-3.0))
    np.testing.assert_array_equal(other_z[1], z[1])
    np.testing.assert_array_equal(other_log_det[1], log_det[1])
    assert not np.array_equal(other_z[0], z[0])


def test_gradient_of_the_likelihood_equals_finite_differences(member, build, quick):
    case = build(member, np.float64)
    with case.precision():

        def loss(params):
            z, log_det = case.on_params(params, case.x, case.condition)
            return -position_log_prob(z, log_det).mean()

        evaluate = jax.jit(jax.value_and_grad(loss), compiler_options=quick)
        gradients = evaluate(case.params)[1]
        rng = np.random.default_rng(0)
        towards = jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape), gradients)
        products = jax.tree.map(lambda g, v: float((g * v).sum()), gradients, towards)
        slope, step = sum(jax.tree.leaves(products)), 1e-7

        def along(t):
            return float(evaluate(jax.tree.map(lambda p, v: p + t * v, case.params, towards))[0])

        expected = (along(step) - along(-step)) / (2 * step)
    assert slope == pytest.approx(expected, rel=1e-5)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.abs(leaf).max() > 0.0, jax.tree_util.keystr(path)


def test_permutation_gradient_equals_plain_indexing():
    index = jnp.asarray(np.random.default_rng(0).permutation(7))
    x = jax.random.normal(jax.random.key(0), (2, 3, 7))
    weight = jax.random.normal(jax.random.key(1), x.shape)
    ours = jax.grad(lambda v: (permute_channels(v, index, jnp.argsort(index)) * weight).sum())(x)
    plain = jax.grad(lambda v: (v[..., index] * weight).sum())(x)
    np.testing.assert_array_equal(ours, plain)
    assert not np.array_equal(ours, weight)


def test_permutation_has_second_derivatives():
    index = jnp.asarray([2, 0, 1])

    def cubes(x):
        y = permute_channels(x, index, jnp.argsort(index))
        return (y**3 * jnp.arange(1.0, 4.0)).sum()

    x = jnp.asarray([1.0, 2.0, 3.0])
    hessian = jax.jacrev(jax.grad(cubes))(x)
    np.testing.assert_allclose(hessian, np.diag([12.0, 36.0, 18.0]))


def test_float64_input_gives_float64_output(member, build):
    case = build(member, np.float64)
    with case.precision():
        for value in (*case.forward(case.x), *case.inverse(case.x)):
            assert value.dtype == np.float64


@pytest.mark.parametrize("flow", [FastFlow2D, CFlowDecoder])
def test_bfloat16_compute_keeps_float32_latents_and_log_det(flow, perturb):
    x = jax.random.normal(jax.random.key(0), (2, 3, 4, 6))
    full = flow(steps=2)
    variables = full.init(jax.random.key(1), x)
    variables = {**variables, "params": perturb(variables["params"])}
    run = {"method": "forward_and_log_det"}
    expected = full.apply(variables, x, **run)
    half = flow(steps=2, dtype=jnp.bfloat16).apply(variables, x, **run)
    assert {v.dtype for v in half} == {jnp.dtype(jnp.float32)}
    for got, want in zip(half, expected, strict=True):
        difference = np.abs(got - want).max()
        assert 0.0 < difference < 0.05 * np.abs(want).max()


@pytest.mark.parametrize("flow", [FastFlow2D, CFlowDecoder])
def test_bfloat16_input_gives_float32_latents_and_log_det(flow):
    x = jax.random.normal(jax.random.key(0), (2, 3, 4, 6), jnp.bfloat16)
    module = flow(steps=2)
    variables = module.init(jax.random.key(1), x)
    for method in ("forward_and_log_det", "inverse_and_log_det"):
        values = module.apply(variables, x, method=method)
        assert {v.dtype for v in values} == {jnp.dtype(jnp.float32)}
