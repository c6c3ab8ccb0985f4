"""Covariances from streamed moments: exact in float64, estimated with shrinkage."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxflow.errors import InputError


class Moments(NamedTuple):
    """Sums over vectors x at each position, d = x - mean; float64, on the host.

    Attributes:
      n: how many vectors.
      mean: f64[h, w, c].
      scatter: f64[h, w, c, c], sum of d d^T.
      cubes: f64[h, w, c], sum of |d|^2 d.
      fourth: f64[h, w], sum of |d|^4.
    """

    n: int
    mean: np.ndarray
    scatter: np.ndarray
    cubes: np.ndarray
    fourth: np.ndarray


def add_vectors(moments: Moments, x: np.ndarray) -> Moments:
    """Return the moments with vectors x f64[b, h, w, c] added, exactly and in any order."""
    if not len(x):
        return moments
    n, old = moments.n, moments
    mean = old.mean + (x - old.mean).sum(0) / (n + len(x))
    d = x - mean
    squares = np.square(d).sum(-1, keepdims=True)
    # The deviation of each earlier vector grows by e.
    e = old.mean - mean
    ee = np.square(e).sum(-1)
    trace = np.trace(old.scatter, axis1=-2, axis2=-1)
    along = np.einsum("hwij,hwj->hwi", old.scatter, e)
    rows = np.moveaxis(np.concatenate([d, np.sqrt(n) * e[None]]), 0, 2)
    scatter = np.matmul(rows.mT, rows)
    scatter += old.scatter
    return Moments(
        n=n + len(x),
        mean=mean,
        scatter=scatter,
        cubes=old.cubes + 2.0 * along + (trace + n * ee)[..., None] * e + (squares * d).sum(0),
        fourth=old.fourth
        + 4.0 * ((along + old.cubes) * e).sum(-1)
        + 2.0 * ee * trace
        + n * np.square(ee)
        + np.square(squares[..., 0]).sum(0),
    )


def fit_whitening(moments: Moments, shrinkage: float | str) -> np.ndarray:
    """Return the inverse of the lower Cholesky factor of each shrunk covariance.

    Returns:
      f[h, w, c, c], lower triangular; float64 where JAX has it enabled, else float32.

    Raises:
      InputError: if there are fewer than two vectors, or a covariance is singular.
    """
    from scipy import linalg  # JAX brings SciPy; importing it takes most of a second.

    n, channels = moments.n, moments.mean.shape[-1]
    if n < 2:
        raise InputError(f"gaussian: a covariance needs at least 2 normal images, got {n}")
    whitening = np.empty(moments.scatter.shape, jax.dtypes.canonicalize_dtype(float))
    for place in np.ndindex(moments.fourth.shape):
        covariance = shrink(moments.scatter[place], float(moments.fourth[place]), n, shrinkage)
        try:
            factor = linalg.cholesky(covariance, lower=True)
        except linalg.LinAlgError as error:
            raise InputError(
                f"gaussian: the covariance of {channels} channels over {n} images is singular; "
                "set shrinkage to a number above 0, such as 0.01, or channels to fewer"
            ) from error
        whitening[place] = linalg.solve_triangular(factor, np.eye(channels), lower=True)
    return whitening


def shrink(scatter: np.ndarray, fourth: float, n: int, shrinkage: float | str) -> np.ndarray:
    """Estimate a covariance f64[c, c] from the scatter f64[c, c] of n vectors."""
    identity = np.eye(len(scatter))
    if not isinstance(shrinkage, str):
        return scatter / (n - 1) + shrinkage * identity
    covariance = scatter / n
    weight = SHRINKAGES[shrinkage](covariance, fourth, n)
    return (1.0 - weight) * covariance + weight * np.trace(covariance) / len(scatter) * identity


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
    """Raise ValueError unless `value` is a finite number of at least 0 or a key of SHRINKAGES."""
    if isinstance(value, str):
        known = value in SHRINKAGES
    else:
        known = isinstance(value, int | float) and 0 <= value < float("inf")
    if not known:
        names = ", ".join(SHRINKAGES)
        raise ValueError(
            f"shrinkage must be a number of at least 0 or one of {names}, got {value!r}"
        )
