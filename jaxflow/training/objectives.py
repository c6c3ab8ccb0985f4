"""What training minimizes."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxflow.detectors import Detector, Latent, dimensions, image_nll
from jaxflow.training.step import Objective


class Loss(NamedTuple):
    """A loss of feature vectors, and how those of a map come together.

    Attributes:
      of_vectors: (log p f[...] in nats, number of channels c) -> f[...].
      over_map: reduces f[b, h, w] over the axes (1, 2); the maps of an image are then added up.
    """

    of_vectors: Callable[[jax.Array, int], jax.Array]
    over_map: Callable[..., jax.Array]

    def of_images(self, latents: Sequence[Latent]) -> jax.Array:
        """Return the loss f[b] of each image's maps together."""
        maps = [self.of_vectors(latent.log_prob(), latent.z.shape[-1]) for latent in latents]
        return jnp.stack([self.over_map(loss, (1, 2)) for loss in maps]).sum(0)


def negative_log_likelihood(log_prob: jax.Array, channels: int) -> jax.Array:
    """Return `-log p` f[...], nats.

    Args:
      log_prob: f[...], nats.
      channels: unused.

    Reference: arXiv 2111.07677, Eq. 2.
    """
    del channels
    return -log_prob


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
    "log_sigmoid": Loss(negative_log_sigmoid, jnp.mean),
}


def make_objective(detector: Detector, kept_features: bool, loss: Loss) -> Objective:
    """Return a loss of each image's feature maps, and their nats per dimension.

    Args:
      detector: whose flows are trained.
      kept_features: whether batches are feature maps that were computed before, rather than
        images u8[b, h, w, 3], for which `frozen` holds the encoder's variables.
      loss: one of `LOSSES`.
    """

    def objective(
        variables: dict[str, Any], frozen: Any, batch: Any, key: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        del key  # Nothing is drawn.
        maps = batch if kept_features else detector.encoder(frozen, batch)
        latents = detector.latents(variables, maps)
        return loss.of_images(latents), image_nll(latents) / dimensions(latents)

    return objective


def nll_objective(detector: Detector, kept_features: bool) -> Objective:
    """Return the negative log-likelihood of each image's feature maps.

    Minimized is the sum over all dimensions, in nats, as the public PyTorch code does: Adam
    follows it as it follows the mean, but for weight decay and epsilon, which act on its scale.

    Args:
      detector: whose flows are trained.
      kept_features: see `make_objective`.

    Reference: arXiv 2111.07677, Eq. 2.
    """
    return make_objective(detector, kept_features, LOSSES["nll"])
