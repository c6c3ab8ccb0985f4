"""Where training batches come from: features computed once, or images read anew."""

import math
import os
import tempfile
from collections.abc import Iterator
from typing import Any, Protocol

import grain
import jax
import numpy as np

from jaxflow.data import Split, epoch_batches, padded_batches, read_images, train_iterator
from jaxflow.encoders import Encoder
from jaxflow.errors import InputError
from jaxflow.parallel import local_part

_ENCODE_BATCH = 32


class Batches(Protocol):
    """An endless sequence of training batches whose position can be saved and set."""

    def __next__(self) -> Any: ...

    def get_state(self) -> dict[str, Any]:
        """Return the position, JSON-able."""
        ...

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue at a position that `get_state` returned."""
        ...


class ImageBatches:
    """Batches u8[b, h, w, 3] of shuffled, augmented images."""

    def __init__(
        self,
        split: Split,
        size: tuple[int, int],
        batch_size: int,
        seed: int,
        augmentation: grain.transforms.RandomMap | None = None,
    ):
        self._iterator = train_iterator(
            split, size=size, batch_size=batch_size, seed=seed, augmentation=augmentation
        )

    def __next__(self) -> np.ndarray:
        return local_part(next(self._iterator)["image"])

    def get_state(self) -> dict[str, Any]:
        """Return the position, JSON-able."""
        return self._iterator.get_state()

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue at a position that `get_state` returned."""
        self._iterator.set_state(state)


class FeatureBatches:
    """Batches of kept feature maps, in the same order as `ImageBatches` without augmentation."""

    def __init__(self, features: "KeptFeatures", batch_size: int, seed: int):
        self._features = features
        self._batch_size = batch_size
        self._seed = seed
        self._next = 0
        self._epoch = -1
        self._order = epoch_batches(len(features), batch_size, seed, 0)

    def __next__(self) -> tuple[Any, ...]:
        epoch, step = divmod(self._next, len(self._order))
        if epoch != self._epoch:
            self._order = epoch_batches(len(self._features), self._batch_size, self._seed, epoch)
            self._epoch = epoch
        self._next += 1
        return self._features.take(local_part(self._order[step]))

    def get_state(self) -> dict[str, Any]:
        """Return the position, JSON-able."""
        return {"next_index": self._next}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue at a position that `get_state` returned."""
        self._next = state["next_index"]


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
        self.maps: list[Any] = [_empty(shape, self.place == "disk") for shape in shapes]
        for indices, valid, features in _encode(encoder, split, size):
            for kept, new in zip(self.maps, features, strict=True):
                kept[indices[valid]] = np.asarray(new)[valid]
        if self.place == "host" and _fits_on_device(2 * count):
            self.maps = [jax.device_put(m) for m in self.maps]
            self.place = "device"

    def __len__(self) -> int:
        return len(self.maps[0])

    def take(self, indices: np.ndarray) -> tuple[Any, ...]:
        """Return the maps of some images, f32[len(indices), h_i, w_i, c_i] each."""
        return tuple(kept[indices] for kept in self.maps)


def _empty(shape: tuple[int, ...], on_disk: bool) -> np.ndarray:
    if not on_disk:
        return np.empty(shape, np.float32)
    with tempfile.TemporaryFile() as file:
        try:
            # Without, a full disk is noticed at a write into the map, which ends the process.
            os.posix_fallocate(file.fileno(), 0, max(1, 4 * math.prod(shape)))
        except OSError as error:
            raise InputError(
                f"{tempfile.gettempdir()}: no room for kept features, "
                f"{4 * math.prod(shape) / 2**30:.1f} GiB: {error.strerror}; make room, set TMPDIR "
                "to another disk, or raise training.feature_memory_gib"
            ) from error
        return np.memmap(file, np.float32, mode="w+", shape=shape)


def _encode(encoder: Encoder, split: Split, size: tuple[int, int]) -> Iterator[tuple]:
    images = read_images(split, size)
    variables = jax.device_put(encoder.variables)
    encode = jax.jit(encoder.__call__)
    for indices, valid in padded_batches(len(split), max(1, min(_ENCODE_BATCH, len(split)))):
        yield indices, valid, encode(variables, images[indices])


def _fits_on_device(count: int) -> bool:
    """Whether the default device is an accelerator with that many bytes free."""
    if jax.default_backend() == "cpu" or jax.local_device_count() > 1:
        return False
    memory = jax.local_devices()[0].memory_stats() or {}
    return count < memory.get("bytes_limit", 0) - memory.get("bytes_in_use", 0)
