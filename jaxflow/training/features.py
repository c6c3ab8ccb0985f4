"""The feature maps of a split: computed once and kept, or one batch after another."""

import math
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from jaxflow.data import Split
from jaxflow.data.pipeline import read_in_batches
from jaxflow.detectors.scratch import scratch
from jaxflow.encoders import Encoder
from jaxflow.parallel import padded_batches

_ENCODE_BATCH = 32
_ADVICE = ", or raise training.feature_memory_gib"


class KeptFeatures:
    """The feature maps of a split, computed once by the frozen encoder.

    They stay in the device's memory where it is an accelerator with room for them twice over,
    else in host memory, and above `host_limit` bytes in nameless files of the system's temporary
    folder (TMPDIR), which are gone with the process however it ends.

    Args:
      encoder: frozen.
      split: n images; may be empty.
      size: (height, width) of the encoder's input, pixels.
      host_limit: bytes.

    Attributes:
      maps: one f32[n, h_i, w_i, c_i] a stage.
      place: "device", "host" or "disk".
    """

    def __init__(
        self,
        encoder: Encoder,
        split: Split,
        size: tuple[int, int],
        host_limit: int = 8 * 2**30,
    ):
        shapes = [
            (len(split), *s, c)
            for s, c in zip(encoder.map_sizes(size), encoder.channels, strict=True)
        ]
        count = 4 * sum(math.prod(shape) for shape in shapes)
        self.place = "disk" if count > host_limit else "host"
        self.maps: list[Any] = [
            scratch(shape, on_disk=self.place == "disk", what="kept features", advice=_ADVICE)
            for shape in shapes
        ]
        start = 0
        for features, valid in encoded(encoder, split, size):
            stop = start + int(valid.sum())
            for kept, new in zip(self.maps, features, strict=True):
                kept[start:stop] = np.asarray(new)[valid]
            start = stop
        if self.place == "host" and _fits_on_device(2 * count):
            self.maps = [jax.device_put(m) for m in self.maps]
            self.place = "device"

    def __len__(self) -> int:
        return len(self.maps[0])

    def in_batches(self) -> Iterator[tuple[tuple[Any, ...], np.ndarray]]:
        """Give all maps in order, as `encoded` does."""
        for indices, valid in padded_batches(len(self), max(1, min(_ENCODE_BATCH, len(self)))):
            yield self.take(indices), valid

    def take(self, indices: np.ndarray) -> tuple[Any, ...]:
        """Return the maps of some images, f32[len(indices), h_i, w_i, c_i] each."""
        return tuple(kept[indices] for kept in self.maps)


def encoded(
    encoder: Encoder, split: Split, size: tuple[int, int]
) -> Iterator[tuple[tuple[jax.Array, ...], np.ndarray]]:
    """Compute the feature maps of a split, batch by batch; nothing else is kept.

    Args:
      encoder: frozen.
      split: n images; may be empty.
      size: (height, width) of the encoder's input, pixels.

    Yields:
      The maps f32[b, h_i, w_i, c_i] of the next images in order, and valid bool[b]: the last batch
      is filled up.
    """
    variables = jax.device_put(encoder.variables)
    for images, valid in read_in_batches(split, size, max(1, min(_ENCODE_BATCH, len(split)))):
        yield encoder.compiled(variables, images), valid


def _fits_on_device(count: int) -> bool:
    """Whether the default device is an accelerator with that many bytes free."""
    if jax.default_backend() == "cpu" or jax.local_device_count() > 1:
        return False
    memory = jax.local_devices()[0].memory_stats() or {}
    return count < memory.get("bytes_limit", 0) - memory.get("bytes_in_use", 0)
