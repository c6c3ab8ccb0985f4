"""The greatest likelihoods of a reference set, which CFLOW's score is relative to."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxflow.data import padded_batches
from jaxflow.detectors import Detector, log_prob_maxima
from jaxflow.parallel import over_devices, replicate, shard, unshard


def reference_maxima(
    detector: Detector,
    selections: Mapping[str, Any],
    images: np.ndarray,
    batch_size: int = 32,
) -> dict[str, np.ndarray]:
    """Compute each feature map's maximum of `log p / c` over all positions of all images.

    Args:
      detector: encoder and flows.
      selections: name -> variables of the flows; the encoder runs once for all of them.
      images: u8[n, h, w, 3], the reference set, n at least 1.
      batch_size: images at once; rounded up to a multiple of the local devices.

    Returns:
      For each selection f32[maps], nats per dimension.

    Reference: arXiv 2107.12571, section 4.2 ("normalize them to be in [0:1] range").
    """

    def maxima(encoder_variables: Any, selections: Any, images: jax.Array) -> dict[str, jax.Array]:
        maps = detector.encoder(encoder_variables, images)
        return {
            name: log_prob_maxima(detector.latents(variables, maps))
            for name, variables in selections.items()
        }

    devices = jax.local_device_count()
    size = -(-min(batch_size, len(images)) // devices) * devices
    compute, frozen = over_devices(maxima), replicate(detector.encoder.variables)
    states = replicate(dict(selections))
    found: dict[str, np.ndarray] = {}
    for indices, valid in padded_batches(len(images), size):
        batch = unshard(compute(frozen, states, shard(images[indices])))
        for name, values in batch.items():
            greatest = values[valid].max(0)
            found[name] = np.maximum(found.get(name, greatest), greatest)
    return found
