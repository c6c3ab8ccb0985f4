"""ActNorm's start, learned linear maps, and the prior on their diagonals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from scipy import stats

from jaxflow.flows import (
    ActNorm,
    Chain,
    FastFlow2D,
    GlobalAffine,
    Glow2D,
    Householder,
    InvertibleLinear,
    PerMap,
    act_norm_params,
    log_diagonal_prior,
    start_from_data,
)


def test_an_act_norm_starts_as_the_identity_or_from_the_moments_of_its_input(draw):
    x = jnp.asarray(3.0 + 2.0 * draw((50, 4)), jnp.float32)
    start = ActNorm().init(jax.random.key(0), x)
    np.testing.assert_array_equal(ActNorm().apply(start, x), x)
    params = act_norm_params(x.mean((0, 1)), x.std((0, 1)))
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, start["params"])
    z = ActNorm().apply({"params": params}, x)
    np.testing.assert_allclose(z.mean((0, 1)), 0.0, atol=1e-5)
    np.testing.assert_allclose(z.std((0, 1)), 1.0, rtol=1e-5)


def test_a_channel_that_never_changes_gives_an_act_norm_of_finite_numbers():
    params = act_norm_params(jnp.asarray([3.0]), jnp.asarray([0.0]))
    np.testing.assert_allclose(params["log_scale"], -np.log(1e-5), rtol=1e-5)
    assert np.isfinite(params["offset"]).all()


def test_the_moments_of_an_act_norm_are_checked():
    with pytest.raises(ValueError, match=r"^mean and std must be f\[c\] both, got shapes \(2,\)"):
        act_norm_params(jnp.zeros(2), jnp.ones(3))


def matrix_of(flow, variables, channels):
    """Return the matrix W [c, c] of a linear flow, z = W x."""
    return np.asarray(flow.apply(variables, jnp.eye(channels)), np.float64).T


@pytest.mark.parametrize("channels", [1, 2, 7, 64])
def test_an_invertible_linear_starts_as_the_orthogonal_matrix_that_its_name_says(channels):
    for start in ("rotation", "permutation", "identity"):
        flow = InvertibleLinear(start)
        init = jax.jit(flow.init)
        variables = init(jax.random.key(1), jnp.ones((1, channels)))
        w = matrix_of(flow, variables, channels)
        np.testing.assert_allclose(w @ w.T, np.eye(channels), atol=1e-4)
        _, log_det = flow.apply(variables, jnp.ones((1, channels)), method="forward_and_log_det")
        np.testing.assert_allclose(log_det, 0.0, atol=1e-4)
        zeros = np.isclose(w, 0.0).mean()
        assert zeros < 0.5 if start == "rotation" else zeros == pytest.approx(1.0 - 1.0 / channels)
        assert (start == "identity") <= (w == np.eye(channels)).all()


def test_the_matrix_is_the_product_of_its_factors(draw_variables):
    flow, x = InvertibleLinear(), jnp.ones((1, 5))
    variables = draw_variables(flow, x, None)
    packed = np.asarray(variables["params"]["lu"], np.float64)
    lower = np.tril(packed, -1) + np.eye(5)
    upper = np.triu(packed, 1) + np.diag(np.exp(np.diag(packed)))
    index = np.asarray(variables["constants"]["index"])
    np.testing.assert_allclose(matrix_of(flow, variables, 5), (lower @ upper)[index], atol=1e-5)


def test_seeds_draw_different_rotations_in_any_dtype():
    x = jnp.ones((1, 8))
    for dtype in (jnp.float32, jnp.bfloat16):
        init = jax.jit(InvertibleLinear(param_dtype=dtype).init)
        first, again, other = (init(jax.random.key(i), x)["params"]["lu"] for i in (0, 0, 1))
        assert first.dtype == dtype
        np.testing.assert_array_equal(first, again)
        assert not np.array_equal(first, other)


def test_the_prior_is_the_log_normal_density_of_all_diagonals(draw_variables):
    flow = Chain([InvertibleLinear(), GlobalAffine(), InvertibleLinear()])
    params = draw_variables(flow, jnp.ones((1, 4)), None)["params"]
    diagonals = [np.exp(np.diag(params[f"links_{i}"]["lu"])) for i in (0, 2)]
    for mean, std in ((0.0, None), (0.3, 0.7)):
        expected = stats.lognorm.logpdf(diagonals, std or 0.5, scale=np.exp(mean)).sum()
        np.testing.assert_allclose(log_diagonal_prior(params, mean, std), expected, rtol=1e-5)
    assert log_diagonal_prior({"links_1": params["links_1"]}) == 0.0
    gradient = jax.grad(log_diagonal_prior)(params)["links_0"]["lu"]
    assert (np.diag(gradient) != 0.0).all()
    assert np.count_nonzero(gradient) == 4
    with pytest.raises(ValueError, match="^std must be positive, got -1.0"):
        log_diagonal_prior(params, std=-1.0)


def test_a_product_of_reflections_is_orthogonal_and_in_order(draw_variables):
    flow = Householder(3)
    variables = draw_variables(flow, jnp.ones((1, 4)), None)
    vectors = np.asarray(variables["params"]["vectors"], np.float64)
    expected = np.eye(4)
    for v in vectors:
        expected = (np.eye(4) - 2.0 * np.outer(v, v) / (v @ v)) @ expected
    np.testing.assert_allclose(matrix_of(flow, variables, 4), expected, atol=1e-5)
    assert np.linalg.det(expected) == pytest.approx(-1.0)


def test_every_act_norm_of_a_flow_starts_from_what_reaches_it(draw):
    flow = Chain([PerMap([Glow2D(steps=2), Chain([ActNorm(), InvertibleLinear(), ActNorm()])])])
    assert flow.starts_from_data
    assert not FastFlow2D().starts_from_data
    x = tuple(jnp.asarray(3.0 + 2.0 * a, jnp.float32) for a in draw(((3, 4, 4), (2, 2, 4)), 20))
    before = dict(jax.jit(flow.init)(jax.random.key(0), x))
    after = jax.jit(lambda v, x: start_from_data(flow, v, x))(before, x)
    assert jax.tree.structure(after) == jax.tree.structure(before)
    outputs = []

    def keep(method, arguments, named, context):
        result = method(*arguments, **named)
        if isinstance(context.module, ActNorm) and context.method_name == "forward_and_log_det":
            outputs.append(result[0])
        return result

    with nn.intercept_methods(keep):
        flow.apply(after, x)
    assert len(outputs) == 4
    for z in outputs:
        np.testing.assert_allclose(z.mean((0, 1, 2)), 0.0, atol=1e-4)
        np.testing.assert_allclose(z.std((0, 1, 2)), 1.0, rtol=1e-4)
    same = jax.tree_util.tree_map_with_path(
        lambda path, a, b: path[-1].key in ("log_scale", "offset") or bool((a == b).all()),
        before,
        after,
    )
    assert all(jax.tree.leaves(same))
