"""Score images with one or several selections of a detector's variables."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from jaxflow.detectors.contract import Detector, Scored
from jaxflow.detectors.scratch import scratch
from jaxflow.parallel import BATCH, PMAP, REPLICATED, Devices, padded_size

# Maps of a whole split above it lie in a file, bytes.
_MAP_MEMORY = 2**30
# selection (such as "last") -> score (such as "nll") -> what it gives, of numpy.
Scores = dict[str, dict[str, Scored]]


class Scorer:
    """A detector's compiled scores over all local devices.

    It compiles once for single images and once for batches, whatever is scored.

    Args:
      detector: of any family.
      batch_size: images at once; rounded up to a multiple of the local devices.
      devices: compute the scores.
    """

    def __init__(self, detector: Detector, batch_size: int = 32, devices: Devices = PMAP):
        def score(frozen: Any, selections: Any, images: jax.Array) -> Any:
            maps = detector.encoder(frozen, images)
            size = (images.shape[1], images.shape[2])
            return {name: detector.score(v, maps, size) for name, v in selections.items()}

        self._names = detector.scores
        self._sizes = (padded_size(1), padded_size(batch_size))
        self._devices = devices
        self._score = devices.run(score, (REPLICATED, REPLICATED, BATCH), BATCH)
        self._frozen = devices.replicate(detector.encoder.variables)

    def place(self, selections: Mapping[str, Any]) -> Any:
        """Put the variables of each selection onto the devices, for calls to come."""
        return self._devices.replicate(dict(selections))

    def __call__(self, placed: Any, images: np.ndarray) -> Scores:
        """Score images; the result does not depend on what else is scored.

        Args:
          placed: of `place`.
          images: u8[n, h, w, 3], n at least 1.

        Returns:
          For each selection and score the anomaly maps f32[n, h, w] and scores f32[n].
        """
        parts = list(self._parts(placed, images))
        joined = jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)
        # JAX sorts the names of a dict.
        return {name: {s: scored[s] for s in self._names} for name, scored in joined.items()}

    def all(
        self,
        placed: Any,
        batches: Iterable[np.ndarray],
        count: int,
        memory: int = _MAP_MEMORY,
    ) -> Scores:
        """Score batch after batch, of which only the scores and the maps are kept.

        Args:
          placed: of `place`.
          batches: images u8[b, h, w, 3] each; one size.
          count: images of all batches, at least 1.
          memory: where the maps take more, they lie in a nameless file, bytes.
        """
        kept: Any = None
        start = 0
        for images in batches:
            scored = self(placed, images)
            if kept is None:
                kept = _room(scored, count, memory)
            for name, by_score in scored.items():
                for score, values in by_score.items():
                    for to, value in zip(kept[name][score], values, strict=True):
                        to[start : start + len(images)] = value
            start += len(images)
        return kept

    def _parts(self, placed: Any, images: np.ndarray) -> Iterator[Scores]:
        one, many = self._sizes
        start = 0
        while start < len(images):
            size = one if len(images) - start <= one else many
            part = images[start : start + size]
            filled = np.concatenate([part, np.repeat(part[-1:], size - len(part), 0)])
            scored = self._score(self._frozen, placed, self._devices.shard(filled))
            yield _first(self._devices.gather(scored, BATCH), len(part))
            start += size


def _room(scored: Scores, count: int, memory: int) -> Scores:
    """Make room for the maps and scores of `count` images."""
    maps = [values.anomaly_map for by_score in scored.values() for values in by_score.values()]
    on_disk = 4 * count * sum(each[0].size for each in maps) > memory

    def room(values: Scored) -> Scored:
        shape = (count, *values.anomaly_map.shape[1:])
        return Scored(
            scratch(shape, on_disk=on_disk, what="anomaly maps"), np.empty(count, np.float32)
        )

    return {
        name: {score: room(values) for score, values in by_score.items()}
        for name, by_score in scored.items()
    }


def _first(scored: Scores, count: int) -> Scores:
    """Leave out what fills up a batch."""
    return jax.tree.map(lambda x: x[:count], scored)
