"""Anomaly maps of a whole split, every image once."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxflow.data import padded_batches
from jaxflow.detectors import Detector
from jaxflow.parallel import over_devices, replicate, shard, unshard

# selection (such as "last") -> score (such as "nll") -> f32[n, h, w]
Maps = dict[str, dict[str, np.ndarray]]


class Scorer:
    """Scores images with one or several states of a detector's flows, over all local devices.

    Args:
      detector: encoder and flows.
      selections: name -> variables of the flows; the encoder runs once for all of them.
      scores: keys of `jaxflow.detectors.SCORES`.
      batch_size: images at once; rounded up to a multiple of the local devices.
    """

    def __init__(
        self,
        detector: Detector,
        selections: Mapping[str, Any],
        scores: Sequence[str],
        batch_size: int = 32,
    ):
        def score(encoder_variables, selections, images):
            return {
                name: detector.anomaly_maps(encoder_variables, variables, images, scores)
                for name, variables in selections.items()
            }

        devices = jax.local_device_count()
        self._batch_size = -(-batch_size // devices) * devices
        self._score = over_devices(score)
        self._encoder = replicate(detector.encoder.variables)
        self._selections = replicate(dict(selections))
        self._scores = tuple(scores)

    def __call__(self, images: np.ndarray) -> Maps:
        """Score images u8[n, h, w, 3]; the result does not depend on what else is scored."""
        size = min(self._batch_size, len(images))
        size = -(-size // jax.local_device_count()) * jax.local_device_count()
        maps: Maps = {
            name: {score: np.empty(images.shape[:3], np.float32) for score in self._scores}
            for name in self._selections
        }
        for indices, valid in padded_batches(len(images), size):
            batch = unshard(self._score(self._encoder, self._selections, shard(images[indices])))
            for name, by_score in batch.items():
                for score, values in by_score.items():
                    maps[name][score][indices[valid]] = values[valid]
        return maps
