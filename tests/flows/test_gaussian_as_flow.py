"""A Gaussian is the linear special case of a flow: arXiv 2107.12571, Eq. 2 to 6."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy import linalg, optimize, stats
from scipy.spatial.distance import mahalanobis

from jaxflow.flows import ActNorm, Chain, InvertibleLinear, Standardize

CHANNELS = 5


def draw_gaussian():
    """Return mean [c] and covariance [c, c] of a Gaussian whose channels have unequal scales."""
    rng = np.random.default_rng(0)
    factor = rng.normal(size=(CHANNELS, CHANNELS)) * 10.0 ** np.linspace(-1, 1, CHANNELS)[:, None]
    return rng.normal(size=CHANNELS), factor @ factor.T


def packed_factors(matrix):
    """Return a matrix [c, c] as `lu`: L below the diagonal, U above, log of U's diagonal on it."""
    size = len(matrix)
    lower, upper = np.eye(size), np.array(matrix)
    for row in range(size):  # Elimination without exchange of rows: P is the identity.
        lower[row + 1 :, row] = upper[row + 1 :, row] / upper[row, row]
        upper[row + 1 :] -= lower[row + 1 :, row, None] * upper[row]
    return np.tril(lower, -1) + np.triu(upper, 1) + np.diag(np.log(np.diag(upper)))


# Each whitens: W^T W is the inverse of the covariance. They differ by a rotation of the latents.
WHITENINGS = {
    "cholesky": lambda covariance: np.linalg.inv(np.linalg.cholesky(covariance)),
    "symmetric": lambda covariance: linalg.fractional_matrix_power(covariance, -0.5),
}


def gaussian_flow(mean, covariance, whitening):
    """Return the linear flow of a Gaussian, and its variables."""
    std = np.sqrt(np.diag(covariance))
    matrix = whitening(covariance / np.outer(std, std))
    flow = Chain([Standardize(), InvertibleLinear("identity")])
    variables = flow.init(jax.random.key(0), jnp.ones((1, CHANNELS)))
    lu = jnp.asarray(packed_factors(matrix))
    constants = {**variables["constants"], "links_0": {"mean": mean, "std": std}}
    return flow, {"params": {"links_1": {"lu": lu}}, "constants": constants}


@pytest.mark.parametrize("whitening", WHITENINGS.values(), ids=WHITENINGS)
def test_a_linear_flow_of_the_whitening_is_the_gaussian(whitening):
    mean, covariance = draw_gaussian()
    with jax.enable_x64(True):
        flow, variables = gaussian_flow(mean, covariance, whitening)
        x = np.random.default_rng(1).multivariate_normal(mean, 4 * covariance, 50)
        log_prob = flow.apply(variables, x, method="log_prob")
        z, log_det = flow.apply(variables, x, method="forward_and_log_det")
    assert log_prob.dtype == z.dtype == np.float64
    expected = stats.multivariate_normal(mean, covariance).logpdf(x)
    np.testing.assert_allclose(log_prob, expected, rtol=0, atol=1e-9)
    precision = np.linalg.inv(covariance)
    distances = [mahalanobis(vector, mean, precision) for vector in x]
    np.testing.assert_allclose(np.linalg.norm(z, axis=-1), distances, rtol=1e-9)
    np.testing.assert_allclose(log_det, -0.5 * np.linalg.slogdet(covariance)[1], rtol=1e-9)


def test_how_far_another_flow_is_from_the_gaussian_is_what_distance_and_volume_leave():
    mean, covariance = draw_gaussian()
    target = stats.multivariate_normal(mean, covariance)
    with jax.enable_x64(True):
        flow, variables = gaussian_flow(mean, covariance, WHITENINGS["symmetric"])
        move = 0.1 * np.random.default_rng(2).normal(size=(CHANNELS, CHANNELS))
        lu = variables["params"]["links_1"]["lu"] + move
        variables = {**variables, "params": {"links_1": {"lu": lu}}}
        u = np.random.default_rng(3).normal(size=(50, CHANNELS))
        x, _ = flow.apply(variables, u, method="inverse_and_log_det")
        log_prob = flow.apply(variables, x, method="log_prob")
        _, log_det = flow.apply(variables, x, method="forward_and_log_det")
    x, log_prob, log_det = map(np.asarray, (x, log_prob, log_det))
    squared = np.square(linalg.cholesky(np.linalg.inv(covariance)) @ (x - mean).T).sum(0)
    volume = log_det + 0.5 * np.linalg.slogdet(covariance)[1]
    expected = 0.5 * (squared - np.square(u).sum(-1)) + volume
    np.testing.assert_allclose(log_prob - target.logpdf(x), expected, rtol=0, atol=1e-9)
    assert np.abs(expected).max() > 0.1


def test_a_linear_flow_of_most_likelihood_has_mean_and_covariance_of_the_sample():
    mean, covariance = draw_gaussian()
    std = np.sqrt(np.diag(covariance))
    x = np.random.default_rng(4).multivariate_normal(mean, covariance, 300) / std
    flow = Chain([ActNorm(), InvertibleLinear("rotation")])
    with jax.enable_x64(True):
        variables = flow.init(jax.random.key(0), jnp.asarray(x))
        start, unravel = ravel_pytree(
            jax.tree.map(lambda leaf: leaf.astype(jnp.float64), variables["params"])
        )

        def apply(vector, x, method):
            return flow.apply({**variables, "params": unravel(vector)}, x, method=method)

        @jax.jit
        def loss(vector):
            return -apply(vector, x, "log_prob").mean()

        found = optimize.minimize(jax.jit(jax.value_and_grad(loss)), start, jac=True,
                                  options={"gtol": 1e-8, "maxiter": 2000})  # fmt: skip
        end = jnp.asarray(found.x)
        middle, _ = apply(end, jnp.zeros((1, CHANNELS)), "inverse_and_log_det")
        units, _ = apply(end, jnp.eye(CHANNELS), "inverse_and_log_det")
        before = float(loss(start))
    middle, factor = np.asarray(middle), np.asarray(units) - np.asarray(middle)
    assert before > found.fun + 0.1
    np.testing.assert_allclose(middle[0], x.mean(0), atol=1e-5)
    np.testing.assert_allclose(factor.T @ factor, np.cov(x.T, bias=True), atol=1e-5)
    best = stats.multivariate_normal(x.mean(0), np.cov(x.T, bias=True)).logpdf(x).mean()
    assert found.fun == pytest.approx(-best, abs=1e-9)
