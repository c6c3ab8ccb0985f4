import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxflow.flows import CFlowDecoder, FastFlow2D
from jaxflow.flows.permutation import permute_channels


def assert_close(got, expected, tolerance=1e-5):
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def test_jit_equals_no_jit(shallow, build):
    case = build(shallow, np.float32)
    arguments = case.variables, case.x, case.condition
    z, log_det = case.flow.apply(*arguments, method="forward_and_log_det")
    assert_close(case.forward(case.x), (z, log_det))
    assert_close(case.flow.apply(*arguments), z)
    if case.flow.bijective:
        back = case.flow.apply(case.variables, z, case.condition, method="inverse_and_log_det")
        assert_close(case.inverse(z), back)


def test_one_input_does_not_depend_on_its_batch(member, build):
    case = build(member, np.float32)
    changed = jax.tree.map(lambda a: a.at[0].multiply(-3.0), case.x)
    outputs, others = case.forward(case.x), case.forward(changed)
    for got, expected in zip(jax.tree.leaves(others), jax.tree.leaves(outputs), strict=True):
        np.testing.assert_array_equal(got[1], expected[1])
    assert not np.array_equal(jax.tree.leaves(others)[0][0], jax.tree.leaves(outputs)[0][0])


def test_vmapped_gradients_of_the_likelihood_equal_finite_differences(shallow, build):
    case = build(shallow, np.float64)
    with case.precision():
        along_batch = (None, 0, 0)
        derivatives = jax.vmap(jax.value_and_grad(case.log_prob, (0, 1)), along_batch)
        evaluate = jax.jit(derivatives)
        values, (of_params, of_x) = evaluate(case.params, case.x, case.condition)
        gradients = jax.tree.map(lambda g: g.sum(0), of_params), of_x
        rng = np.random.default_rng(0)
        towards = jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape), gradients)
        products = jax.tree.map(lambda g, v: float((g * v).sum()), gradients, towards)
        slope, step = sum(jax.tree.leaves(products)), 1e-7

        def along(t):
            moved = jax.tree.map(lambda p, v: p + t * v, (case.params, case.x), towards)
            return float(evaluate(*moved, case.condition)[0].sum())

        expected = (along(step) - along(-step)) / (2 * step)
        z, log_det = case.forward(case.x)
        expected_value = sum(
            stats.norm.logpdf(a).sum() + np.sum(b)
            for a, b in zip(jax.tree.leaves(z), jax.tree.leaves(log_det), strict=True)
        )
        np.testing.assert_allclose(np.sum(values), expected_value, rtol=1e-9)
    assert slope == pytest.approx(expected, rel=1e-5, abs=1e-5)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.abs(leaf).max() > 0.0, jax.tree_util.keystr(path)


def test_permutation_gradient_equals_plain_indexing(draw):
    index = jnp.asarray(np.random.default_rng(0).permutation(7))
    x, weight = (jnp.asarray(draw((3, 7), seed=seed), jnp.float32) for seed in (0, 1))
    back = jnp.argsort(index)
    ours = jax.jit(jax.grad(lambda v: (permute_channels(v, index, back) * weight).sum()))(x)
    plain = jax.jit(jax.grad(lambda v: (v[..., index] * weight).sum()))(x)
    np.testing.assert_array_equal(ours, plain)
    assert not np.array_equal(ours, weight)


def test_permutation_has_second_derivatives():
    index = jnp.asarray([2, 0, 1])

    def cubes(x):
        y = permute_channels(x, index, jnp.argsort(index))
        return (y**3 * jnp.arange(1.0, 4.0)).sum()

    x = jnp.asarray([1.0, 2.0, 3.0])
    hessian = jax.jit(jax.jacrev(jax.grad(cubes)))(x)
    np.testing.assert_allclose(hessian, np.diag([12.0, 36.0, 18.0]))


def test_float64_input_gives_float64_output(member, build):
    case = build(member, np.float64)
    with case.precision():
        outputs = [jax.eval_shape(case.on_params, case.params, case.x, case.condition)]
        if case.flow.bijective:
            outputs.append(
                jax.eval_shape(case.run_back, case.params, outputs[0][0], case.condition)
            )
        assert {leaf.dtype for leaf in jax.tree.leaves(outputs)} == {np.dtype(np.float64)}


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_input_of_16_bits_gives_float32_latents_and_log_det(shallow, build, dtype):
    case = build(shallow, np.float32)
    half = jax.tree.map(lambda a: a.astype(dtype), case.x)
    outputs = [jax.eval_shape(case.on_params, case.params, half, case.condition)]
    if case.flow.bijective:
        z = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, dtype), outputs[0][0])
        outputs.append(jax.eval_shape(case.run_back, case.params, z, case.condition))
    assert {leaf.dtype for leaf in jax.tree.leaves(outputs)} == {np.dtype(np.float32)}


@pytest.mark.parametrize("flow", [FastFlow2D, CFlowDecoder])
def test_bfloat16_compute_keeps_float32_latents_and_log_det(flow, draw, draw_variables):
    x = jnp.asarray(draw((2, 4, 4)), jnp.float32)
    variables = draw_variables(flow(steps=1), x, None)

    def run(dtype):
        apply = functools.partial(flow(steps=1, dtype=dtype).apply, method="forward_and_log_det")
        return jax.jit(apply)(variables, x)

    expected, half = run(None), run(jnp.bfloat16)
    assert {v.dtype for v in half} == {jnp.dtype(jnp.float32)}
    for got, want in zip(half, expected, strict=True):
        difference = np.abs(got - want).max()
        assert 0.0 < difference < 0.05 * np.abs(want).max()
