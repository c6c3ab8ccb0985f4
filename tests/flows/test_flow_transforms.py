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
    for method, jitted in (
        ("forward_and_log_det", case.forward),
        ("inverse_and_log_det", case.inverse),
    ):
        plain = case.flow.apply(case.variables, case.x, case.condition, method=method)
        for got, expected in zip(jitted(case.x), plain, strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_call_is_forward(member, build):
    case = build(member, np.float32)
    z = jax.jit(case.flow.apply)(case.variables, case.x, case.condition)
    np.testing.assert_allclose(z, case.forward(case.x)[0], rtol=1e-5, atol=1e-5)


def test_vmap_equals_a_loop(member, build):
    case = build(member, np.float32)
    groups = jnp.stack([case.x, 2.0 * case.x, case.x[::-1]])
    z, log_det = jax.jit(jax.vmap(case.forward))(groups)
    for i, group in enumerate(groups):
        one_z, one_log_det = case.forward(group)
        np.testing.assert_allclose(z[i], one_z, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(log_det[i], one_log_det, rtol=1e-4, atol=1e-5)


def test_one_input_does_not_depend_on_its_batch(member, build):
    case = build(member, np.float32)
    single = None if case.condition is None else case.condition[1:]
    z, log_det = jax.jit(case.on_params)(case.variables["params"], case.x[1:], single)
    np.testing.assert_allclose(z[0], case.forward(case.x)[0][1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(log_det[0], case.forward(case.x)[1][1], rtol=1e-4, atol=1e-5)


def test_gradient_of_the_likelihood_equals_finite_differences(member, build):
    case = build(member, np.float64)
    with case.precision():

        @jax.jit
        def loss(params):
            z, log_det = case.on_params(params, case.x, case.condition)
            return -position_log_prob(z, log_det).mean()

        params = case.variables["params"]
        gradients = jax.jit(jax.grad(loss))(params)
        leaves, tree = jax.tree.flatten(gradients)
        assert all(np.isfinite(leaf).all() for leaf in leaves)
        rng = np.random.default_rng(0)
        towards = [jnp.asarray(rng.standard_normal(leaf.shape)) for leaf in leaves]
        slope = sum(float((g * v).sum()) for g, v in zip(leaves, towards, strict=True))
        step = 1e-5

        def along(t):
            pairs = zip(jax.tree.leaves(params), towards, strict=True)
            return float(loss(jax.tree.unflatten(tree, [p + t * v for p, v in pairs])))

        assert slope == pytest.approx((along(step) - along(-step)) / (2 * step), rel=1e-5)


def test_every_parameter_gets_a_gradient(member, build):
    case = build(member, np.float32)

    def loss(params):
        z, log_det = case.on_params(params, case.x, case.condition)
        return -position_log_prob(z, log_det).mean()

    for path, leaf in jax.tree_util.tree_leaves_with_path(
        jax.jit(jax.grad(loss))(case.variables["params"])
    ):
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
