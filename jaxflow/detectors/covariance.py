"""Gaussians from streamed moments: exact in float64, covariances estimated with shrinkage."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxflow.errors import InputError

# The shrinkage to the mean covariance of all positions.
SHARED = "shared"
# Least variance beside an estimated shrinkage, as a share of the mean variance of all positions.
_FLOOR = 1e-6


class Moments(NamedTuple):
    """Sums over vectors x at each position, y = x - shift; float64, on the host.

    Attributes:
      n: how many vectors.
      shift: f64[h, w, c], near the mean, so that no digits are lost; None: no vectors yet.
      first: f64[h, w, c], sum of y.
      second: f64[h, w, c, c], sum of y y^T, lower triangles.
      third: f64[h, w, c], sum of |y|^2 y.
      fourth: f64[h, w], sum of |y|^4.
    """

    n: int
    shift: np.ndarray | None
    first: np.ndarray
    second: np.ndarray
    third: np.ndarray
    fourth: np.ndarray

    @classmethod
    def start(cls, height: int, width: int, channels: int) -> "Moments":
        """Return the sums over no vectors."""
        first = np.zeros((height, width, channels))
        second = np.zeros((*first.shape, channels))
        return cls(0, None, first, second, first, np.zeros((height, width)))


def add_vectors(moments: Moments, x: np.ndarray) -> Moments:
    """Return the moments with vectors x f64[b, h, w, c] added.

    The largest array, `second`, is overwritten: do not use the moments that were given again.
    """
    if not len(x):
        return moments
    from scipy.linalg import blas

    shift = x.mean(0) if moments.shift is None else moments.shift
    y = np.moveaxis(x - shift, 0, 2)
    for place in np.ndindex(moments.fourth.shape):
        # The transposed view is in the column order that BLAS overwrites.
        upper = moments.second[place].T
        blas.dsyrk(1.0, y[place].T, beta=1.0, c=upper, overwrite_c=True)
    squares = np.square(y).sum(-1)
    return Moments(
        n=moments.n + len(x),
        shift=shift,
        first=moments.first + y.sum(2),
        second=moments.second,
        third=moments.third + (squares[..., None] * y).sum(2),
        fourth=moments.fourth + np.square(squares).sum(2),
    )


def central(moments: Moments, place: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the mean, the scatter and the fourth moment around the mean at one position.

    Args:
      moments: of at least one vector.
      place: (row, column).

    Returns:
      mean f64[c]; sum of d d^T f64[c, c] and sum of |d|^4, where d = x - mean.
    """
    assert moments.shift is not None
    lower = np.tril(moments.second[place])
    second = lower + np.tril(lower, -1).T
    e = moments.first[place] / moments.n
    ee = e @ e
    fourth = (
        moments.fourth[place]
        + e @ (4.0 * second @ e - 4.0 * moments.third[place])
        + 2.0 * ee * np.trace(second)
        - 3.0 * moments.n * ee**2
    )
    return moments.shift[place] + e, second - moments.n * np.outer(e, e), float(fourth)


def whitening_of(moments: Moments, shrinkage: float | str) -> dict[str, jax.Array]:
    """Return the constants of the flow `Whiten`: those of `fit_gaussians` by their names."""
    mean, whitening, own = fit_gaussians(moments, shrinkage)
    return {
        "mean": jnp.asarray(mean),
        "whitening": jnp.asarray(whitening),
        "images": jnp.asarray(moments.n, own.dtype),
        "own": jnp.asarray(own),
    }


def fit_gaussians(
    moments: Moments, shrinkage: float | str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit a Gaussian at each position.

    Returns:
      mean f[h, w, c]; whitening f[h, w, c, c], the inverse of the lower Cholesky factor of the
      shrunk covariance; and own f[h, w], what of the covariance is the mean of d d^T there, where d
      is a vector's distance from the mean. Float64 where JAX has it enabled, else float32.

    Raises:
      InputError: if there are fewer than two vectors, or a covariance is singular.
    """
    from scipy.linalg import lapack  # JAX brings SciPy; importing it takes most of a second.

    n, channels = moments.n, moments.first.shape[-1]
    if n < 2:
        raise InputError(f"gaussian: a covariance needs at least 2 normal images, got {n}")
    floor = 0.0
    if isinstance(shrinkage, str):
        # Positions that never change, such as masked corners, have no variance of their own.
        floor = _FLOOR * np.einsum("hwii->", moments.second) / moments.first.size / n
    dtype = jax.dtypes.canonicalize_dtype(float)
    means, whitening = np.empty(moments.first.shape, dtype), np.empty(moments.second.shape, dtype)
    own = np.empty(moments.fourth.shape, dtype)
    target = shared_target(moments) if shrinkage == SHARED else None
    for place in np.ndindex(moments.fourth.shape):
        means[place], scatter, fourth = central(moments, place)
        if target is None:
            covariance, own[place] = shrink(scatter, fourth, n, shrinkage)
        else:
            covariance = scatter * ((1.0 - target.weight) / n) + target.weight * target.covariance
            own[place] = 1.0 - target.weight + target.weight * target.own / own.size
        _add_to_diagonal(covariance, floor)
        factor, failed = lapack.dpotrf(covariance, lower=True)
        if failed:
            raise InputError(
                f"gaussian: the covariance of {channels} channels over {n} images is singular; "
                "set shrinkage to a number above 0, such as 0.01, or channels to fewer"
            )
        whitening[place], _ = lapack.dtrtri(factor, lower=True)
    return means, whitening, own


class Target(NamedTuple):
    """What the covariance of every position is mixed with.

    Attributes:
      covariance: f64[c, c].
      weight: of it, from 0 to 1; the same at every position, so that scores compare.
      own: what of it is the mean of the positions' estimates; the rest is the identity's.
    """

    covariance: np.ndarray
    weight: float
    own: float


def shared_target(moments: Moments) -> Target:
    """Find the mean covariance G of all positions, and how much of it each is to take.

    The weight is Ledoit and Wolf's with G in place of a multiple of the identity, from sums over
    the positions p: `sum_p (sum |x|^4 / n - |S_p|^2) / n / sum_p |S_p - G|^2`. G itself is shrunk
    as one covariance of all vectors by `oracle_approximating`: with one position all is as by that.
    """
    n, places = moments.n, moments.fourth.size
    channels = moments.first.shape[-1]
    total, norms, fourths = np.zeros((channels, channels)), 0.0, 0.0
    for place in np.ndindex(moments.fourth.shape):
        _, scatter, fourth = central(moments, place)
        scatter /= n
        total += scatter
        norms += np.square(scatter).sum()
        fourths += fourth
    mean = total / places
    spread = norms - places * np.square(mean).sum()
    noise = (fourths / n - norms) / n
    # Positions that are all the same, or one, differ by rounding.
    weight = min(noise / spread, 1.0) if spread > 1e-12 * norms else 1.0
    own = oracle_approximating(mean, 0.0, n * places)
    mean = (1.0 - own) * mean
    _add_to_diagonal(mean, own * np.trace(total) / places / channels)
    return Target(mean, weight, 1.0 - own)


def shrink(
    scatter: np.ndarray, fourth: float, n: int, shrinkage: float | str
) -> tuple[np.ndarray, float]:
    """Estimate a covariance f64[c, c] from the scatter f64[c, c] of n vectors.

    Returns:
      The covariance, and what of it is scatter / n.
    """
    if not isinstance(shrinkage, str):
        covariance, ridge, own = scatter / (n - 1), shrinkage, n / (n - 1)
    else:
        covariance = scatter / n
        weight = SHRINKAGES[shrinkage](covariance, fourth, n)
        ridge, own = weight * np.trace(covariance) / len(covariance), 1.0 - weight
        covariance *= own
    _add_to_diagonal(covariance, ridge)
    return covariance, own


def _add_to_diagonal(matrix: np.ndarray, value: float) -> None:
    matrix.flat[:: len(matrix) + 1] += value


def ledoit_wolf(covariance: np.ndarray, fourth: float, n: int) -> float:
    """Return the weight of the identity by Ledoit and Wolf.

    `min(b, d) / d` with `d = |S - mu I|^2`, `b = (sum |x|^4 / n - |S|^2) / n`, Frobenius norms.

    Args:
      covariance: S f64[c, c], biased (divided by n).
      fourth: sum of the fourth powers of the n vectors' distances from their mean.
      n: vectors.

    Returns:
      From 0 to 1.

    Reference: "A well-conditioned estimator for large-dimensional covariance matrices", 2004.
    """
    norm = np.square(covariance).sum()
    d = norm - np.trace(covariance) ** 2 / len(covariance)
    b = min((fourth / n - norm) / n, d)
    return float(b / d) if b > 0 else 0.0


def oracle_approximating(covariance: np.ndarray, fourth: float, n: int) -> float:
    """Return the weight of the identity by oracle approximating shrinkage (OAS).

    `(a + mu^2) / ((n + 1) (a - mu^2 / c))`, at most 1, with `a` the mean square of S's entries and
    `mu` the mean of its diagonal.

    Args:
      covariance: S f64[c, c], biased (divided by n).
      fourth: not used.
      n: vectors.

    Returns:
      From 0 to 1.

    Reference: Chen et al., "Shrinkage algorithms for MMSE covariance estimation", 2010.
    """
    del fourth
    c = len(covariance)
    a, mu = np.square(covariance).mean(), np.trace(covariance) / c
    denominator = (n + 1) * (a - mu**2 / c)
    return float(min((a + mu**2) / denominator, 1.0)) if denominator > 0 else 1.0


SHRINKAGES: dict[str, Callable[[np.ndarray, float, int], float]] = {
    "ledoit_wolf": ledoit_wolf,
    "oas": oracle_approximating,
}


def check_shrinkage(value: Any) -> None:
    """Raise ValueError unless `value` is a finite number of at least 0 or a name of a shrinkage."""
    names = (SHARED, *SHRINKAGES)
    if isinstance(value, str):
        known = value in names
    else:
        known = isinstance(value, int | float) and 0 <= value < float("inf")
    if not known:
        raise ValueError(
            f"shrinkage must be a number of at least 0 or one of {', '.join(names)}, got {value!r}"
        )
