"""What couplings do to their second half: affine, GIN, rational-quadratic splines."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxflow.flows import (
    COUPLINGS,
    CFlowDecoder,
    Coupling,
    DenseConditioner,
    FastFlow2D,
    RationalQuadraticSpline,
    Transform,
)
from jaxflow.flows.transform import make_transform


def numbers_of(shape, scale=1.0):
    return jnp.asarray(scale * np.random.default_rng(0).standard_normal(shape), jnp.float32)


@pytest.mark.parametrize("flow", [FastFlow2D, CFlowDecoder])
@pytest.mark.parametrize("coupling", COUPLINGS)
def test_the_published_flows_take_every_coupling_by_name(flow, coupling, draw):
    x = jnp.asarray(draw((2, 2, 6)), jnp.float32)
    module = flow(steps=1, coupling=coupling)
    start = jax.jit(module.init)(jax.random.key(0), x)
    run = functools.partial(module.apply, method="forward_and_log_det")
    z, log_det = jax.jit(run)(start, x)
    assert (z.shape, log_det.shape) == (x.shape, x.shape[:-1])
    assert isinstance(make_transform(coupling, 2.0, "tanh"), Transform)


def test_an_affine_coupling_without_a_clamp_is_the_exponential_of_s():
    b, numbers = numbers_of((5, 3)), numbers_of((5, 6), 3.0)
    z, log_det = make_transform("affine", 2.0, "unclamped").forward(b, numbers)
    s, t = numbers[:, :3], numbers[:, 3:]
    np.testing.assert_allclose(z, b * jnp.exp(s) + 0.1 * t, rtol=1e-5)
    np.testing.assert_allclose(log_det, s.sum(-1), rtol=1e-5)


def test_gin_takes_the_mean_off_the_log_scales():
    b, numbers = numbers_of((5, 3)), numbers_of((5, 6), 3.0)
    z, log_det = make_transform("gin", 2.0, "tanh").forward(b, numbers)
    s = 2.0 * jnp.tanh(0.1 * numbers[:, :3])
    scale = jnp.exp(s - s.mean(-1, keepdims=True))
    np.testing.assert_allclose(z, b * scale + 0.1 * numbers[:, 3:], rtol=1e-5)
    np.testing.assert_array_equal(log_det, 0.0)


def test_a_spline_of_zeros_is_the_identity():
    spline = RationalQuadraticSpline(bins=5, bound=2.0)
    b = jnp.linspace(-3.0, 3.0, 601)[:, None]
    z, log_det = spline.forward(b, jnp.zeros((601, spline.outputs)))
    np.testing.assert_allclose(z, b, atol=1e-6)
    np.testing.assert_allclose(log_det, 0.0, atol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_a_spline_is_monotonic_continuous_and_linear_outside(scale):
    spline = RationalQuadraticSpline(bins=6, bound=2.0)
    with jax.enable_x64(True):
        b = jnp.linspace(-3.0, 3.0, 60_001, dtype=np.float64)[:, None]
        one = np.random.default_rng(0).standard_normal(spline.outputs)
        numbers = jnp.broadcast_to(jnp.asarray(scale * one), (len(b), spline.outputs))
        z, log_det = spline.forward(b, numbers)
        _, slopes = jax.jvp(lambda b: spline.forward(b, numbers)[0], (b,), (jnp.ones_like(b),))
        back, back_log_det = spline.inverse(z, numbers)
    b, z, log_det = (np.asarray(each) for each in (b, z, log_det))
    np.testing.assert_allclose(np.exp(log_det), slopes[:, 0], rtol=1e-9)
    steps = np.diff(z[:, 0])
    assert 0.0 < steps.min() <= steps.max() < 0.01
    outside = np.abs(b[:, 0]) > 2.0
    np.testing.assert_array_equal(z[outside], b[outside])
    np.testing.assert_array_equal(log_det[outside], 0.0)
    np.testing.assert_allclose(back, b, atol=1e-9)
    np.testing.assert_allclose(back_log_det, -log_det, atol=1e-7)


def test_a_spline_of_extreme_numbers_stays_finite():
    spline = RationalQuadraticSpline()
    b, numbers = numbers_of((200, 2), 3.0), numbers_of((200, 2 * spline.outputs), 400.0)

    def total(b, numbers, run):
        z, log_det = run(b, numbers)
        return z.sum() + log_det.sum()

    for run in (spline.forward, spline.inverse):
        outputs = run(b, numbers), jax.grad(total, (0, 1))(b, numbers, run)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(outputs))


def test_the_numbers_of_a_spline_keep_to_its_least_sizes():
    spline = RationalQuadraticSpline(bins=4, min_width=0.1, min_height=0.2, min_derivative=0.3)
    b = jnp.zeros((50, 1))
    widths, heights, slopes = spline._shape(b, numbers_of((50, spline.outputs), 500.0))
    np.testing.assert_allclose(widths.sum(-1), 10.0, rtol=1e-5)
    np.testing.assert_allclose(heights.sum(-1), 10.0, rtol=1e-5)
    for each, least in ((widths, 1.0), (heights, 2.0), (slopes, 0.3)):
        np.testing.assert_allclose(each.min(), least, rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bins": 1}, "bins must be at least 2, got 1"),
        ({"bins": 2.5}, "bins must be an integer, got 2.5"),
        ({"bound": 0.0}, "bound must be positive, got 0.0"),
        ({"bins": 4, "min_width": 0.25}, "min_width must be below 0.25, got 0.25"),
        ({"bins": 4, "min_height": -1.0}, "min_height must be positive, got -1.0"),
        ({"min_derivative": 1.0}, "min_derivative must be below 1, got 1.0"),
    ],
)
def test_a_bad_spline_is_named(options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        RationalQuadraticSpline(**options)


def test_a_transform_of_ones_own_can_be_a_coupling(draw_variables):
    class Double:
        outputs = 1

        def forward(self, b, numbers):
            return 2.0 * b, jnp.full(b.shape[:-1], b.shape[-1] * jnp.log(2.0))

        def inverse(self, b, numbers):
            return 0.5 * b, jnp.full(b.shape[:-1], -b.shape[-1] * jnp.log(2.0))

    flow, x = Coupling(DenseConditioner(), coupling=Double()), jnp.ones((2, 4))
    variables = draw_variables(flow, x, None)
    np.testing.assert_array_equal(flow.apply(variables, x), [[1.0, 1.0, 2.0, 2.0]] * 2)
