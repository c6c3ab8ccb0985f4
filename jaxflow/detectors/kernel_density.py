"""Kernel density estimation over single feature vectors."""

import dataclasses
import math
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from jaxflow.detectors.covariance import Moments, add_vectors, whitening_of
from jaxflow.detectors.draw import Drawn
from jaxflow.detectors.kernels import log_kernel_sum
from jaxflow.detectors.per_vector import Constants, VectorDensity
from jaxflow.errors import InputError
from jaxflow.flows.arguments import check_positive
from jaxflow.flows.whiten import Whiten

# Vectors by which a bandwidth is judged, and between which it is looked for.
_QUERIES = 512
_BANDWIDTHS = (1e-2, 1e2)


@dataclasses.dataclass(frozen=True, eq=False)
class KernelDensity(VectorDensity):
    """Put a Gaussian kernel around every vector of each map.

    `log p(x) = log mean_i N(W r(x); W r(x_i), h^2) + log |det W| + log |det r'(x)|`: x_i the drawn
    vectors, h the bandwidth, and W what whitens them (Fukunaga), or the identity.

    The variables hold the drawn vectors of each map.

    Attributes:
      bandwidth: h; None: the one that makes 512 of the vectors most likely. The kernels of a
        vector's own image do not count there.
      whiten: whether the vectors are whitened by the covariance of all, shrunk by OAS.
      **others: see `VectorDensity` and `PerVector`.

    Raises:
      ValueError: if an option is wrong.

    Reference: Parzen, "On estimation of a probability density function and mode", 1962; Fukunaga,
      "Introduction to Statistical Pattern Recognition", 1990, section 6.1, for W.
    """

    bandwidth: float | None = None
    whiten: bool = True

    def __post_init__(self):
        super().__post_init__()
        if self.bandwidth is not None:
            check_positive("bandwidth", self.bandwidth)

    def empty(self, channels: int) -> Constants:
        """Return kernels f[0, c], bandwidth f[], and the constants of a `Whiten` of 1 x 1."""
        return {
            "kernels": jnp.zeros((0, channels), float),
            "bandwidth": jnp.ones((), float),
            "mean": jnp.zeros((1, 1, channels), float),
            "whitening": jnp.eye(channels, dtype=float)[None, None],
            "images": jnp.zeros((), float),
            "own": jnp.zeros((1, 1), float),
        }

    def fit(self, drawn: Drawn, seed: int) -> Constants:
        """Whiten the vectors of a map and find the bandwidth; see `PerVector`.

        Raises:
          InputError: if all vectors are the same, or only one image is there to find a bandwidth.
        """
        vectors, owners = drawn.joined()
        r = self.shorten(vectors)
        if not r.var(0).any() or (self.bandwidth is None and owners.min() == owners.max()):
            raise InputError(
                f"kernel density: {len(r)} vectors of {drawn.images} normal images; expected "
                "vectors that differ, of at least 2 images; add images"
            )
        constants = self.empty(r.shape[-1])
        if self.whiten:
            moments = add_vectors(Moments.start(1, 1, r.shape[-1]), r[:, None, None])
            constants |= whitening_of(moments, "oas")
        kernels, _ = _whitened(constants, jnp.asarray(r, float))
        bandwidth = self.bandwidth or _likeliest(np.asarray(kernels), owners, seed)
        return constants | {"kernels": kernels, "bandwidth": jnp.asarray(bandwidth, float)}

    def log_density(self, constants: Constants, r: jax.Array) -> jax.Array:
        """Return the log-density f[n] of vectors r f[n, c], nats."""
        kernels, bandwidth = constants["kernels"], constants["bandwidth"]
        z, log_det = _whitened(constants, r)
        weights = jnp.full(len(kernels), -math.log(max(len(kernels), 1)), z.dtype)
        total = log_kernel_sum(z, kernels, weights, 1.0 / jnp.square(bandwidth))
        return total - z.shape[-1] * (jnp.log(bandwidth) + 0.5 * math.log(2.0 * math.pi)) + log_det


def _whitened(constants: Constants, r: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return z f[n, c] of vectors r f[n, c], and its log_det f[n], nats."""
    names = ("mean", "whitening", "images", "own")
    own: Any = {"constants": {name: constants[name] for name in names}}
    applied = Whiten().apply(own, r[:, None, None], method="forward_and_log_det")
    z, log_det = cast(tuple[jax.Array, jax.Array], applied)
    return z[:, 0, 0], log_det[:, 0, 0]


def _likeliest(kernels: np.ndarray, owners: np.ndarray, seed: int) -> float:
    """Find the bandwidth that makes vectors most likely, without kernels of their own images.

    Args:
      kernels: f[n, c].
      owners: i64[n], the image of each; at least two images.
      seed: of the choice of the vectors that judge.
    """
    from scipy.optimize import minimize_scalar
    from scipy.spatial.distance import cdist
    from scipy.special import logsumexp

    chosen = np.random.default_rng(seed).permutation(len(kernels))[:_QUERIES]
    squares = cdist(kernels[chosen], kernels, "sqeuclidean")
    squares[owners[chosen][:, None] == owners] = np.inf
    others = np.isfinite(squares).sum(1)

    def nats(log_bandwidth: float) -> float:
        log_sums = logsumexp(-0.5 * squares * np.exp(-2.0 * log_bandwidth), axis=1)
        return float((np.log(others) - log_sums).mean() + kernels.shape[1] * log_bandwidth)

    bounds = tuple(map(math.log, _BANDWIDTHS))
    return math.exp(minimize_scalar(nats, bounds=bounds, method="bounded").x)
