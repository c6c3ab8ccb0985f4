"""What training of a flow minimizes."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxflow.detectors.pyramid import Latent


class Loss(NamedTuple):
    """A loss of feature vectors, and how those of a map come together.

    Attributes:
      of_vectors: (log p f[...] in nats, number of channels c) -> f[...].
      over_map: reduces f[b, h, w] over the axes (1, 2); the maps of an image are then added up.
      per_dimension: whether `of_vectors` is in nats per dimension, and not in nats.
      weighted: whether each map counts by its share of the numbers of all maps.
    """

    of_vectors: Callable[[jax.Array, int], jax.Array]
    over_map: Callable[..., jax.Array]
    per_dimension: bool = False
    weighted: bool = False

    def of_images(self, latents: Sequence[Latent]) -> jax.Array:
        """Return the loss f[b] of each image's maps together."""
        maps = [self.of_vectors(latent.log_prob(), latent.z.shape[-1]) for latent in latents]
        losses = jnp.stack([self.over_map(loss, (1, 2)) for loss in maps])
        if self.weighted:
            counts = np.array([dimensions([latent]) for latent in latents])
            losses *= jnp.asarray(counts / counts.sum(), losses.dtype)[:, None]
        return losses.sum(0)

    def of_nats(self, nats: jax.Array, dimensions: int) -> jax.Array:
        """Return nats f[] of that many dimensions in the unit of the loss, as a prior needs it."""
        return nats / dimensions if self.per_dimension else nats


def negative_log_likelihood(log_prob: jax.Array, channels: int) -> jax.Array:
    """Return `-log p` f[...], nats.

    Args:
      log_prob: f[...], nats.
      channels: unused.

    Reference: arXiv 2111.07677, Eq. 2.
    """
    del channels
    return -log_prob


def nats_per_dimension(log_prob: jax.Array, channels: int) -> jax.Array:
    """Return `-log p / c` f[...], nats per dimension.

    Source: the public code of DifferNet and CS-Flow; arXiv 2110.02855, Eq. 6, has `-log p`.
    """
    return -log_prob / channels


def negative_log_sigmoid(log_prob: jax.Array, channels: int) -> jax.Array:
    """Return `-log sigmoid(log p / c)` f[...]: likely vectors count less and less.

    Args:
      log_prob: f[...], nats.
      channels: c of the vectors.

    Source: CFLOW-AD's public code; arXiv 2107.12571, Eq. 7, has `-log p`.
    """
    return -jax.nn.log_sigmoid(log_prob / channels)


LOSSES: dict[str, Loss] = {
    "nll": Loss(negative_log_likelihood, jnp.sum),
    "nll_per_dimension": Loss(nats_per_dimension, jnp.mean, per_dimension=True, weighted=True),
    "log_sigmoid": Loss(negative_log_sigmoid, jnp.mean, per_dimension=True),
}


def image_nll(latents: Sequence[Latent]) -> jax.Array:
    """Return the negative log-likelihood f[b] of each image's maps together, nats.

    `-log p(x) = sum over maps and positions of (0.5 |z|^2 + (c / 2) log 2 pi - log_det)`.

    Reference: arXiv 2111.07677, Eq. 2.
    """
    return -jnp.stack([latent.log_prob().sum((1, 2)) for latent in latents]).sum(0)


def dimensions(latents: Sequence[Latent]) -> int:
    """Return how many numbers an image's maps hold; nats divided by it are nats per dimension."""
    return sum(int(np.prod(latent.z.shape[1:])) for latent in latents)
