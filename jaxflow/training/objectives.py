"""What training minimizes."""

from typing import Any

import jax

from jaxflow.detectors import Detector, dimensions, image_nll
from jaxflow.training.step import Objective


def nll_objective(detector: Detector, kept_features: bool) -> Objective:
    """Return the negative log-likelihood of each image's feature maps.

    Minimized is the sum over all dimensions, in nats, as the public PyTorch code does: Adam
    follows it as it follows the mean, but for weight decay and epsilon, which act on its scale.

    Args:
      detector: whose flows are trained.
      kept_features: whether batches are feature maps that were computed before, rather than
        images u8[b, h, w, 3], for which `frozen` holds the encoder's variables.

    Reference: arXiv 2111.07677, Eq. 2.
    """

    def objective(
        variables: dict[str, Any], frozen: Any, batch: Any, key: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        del key  # Nothing is drawn.
        maps = batch if kept_features else detector.encoder(frozen, batch)
        latents = detector.latents(variables, maps)
        loss = image_nll(latents)
        return loss, loss / dimensions(latents)

    return objective
