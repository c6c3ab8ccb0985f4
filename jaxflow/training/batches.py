"""Where training batches come from: features computed once, or images read again."""

from typing import Any, Protocol

import grain
import numpy as np

from jaxflow.data import Split
from jaxflow.data.pipeline import epoch_batches, train_iterator
from jaxflow.encoders import Encoder
from jaxflow.parallel import PMAP, Devices
from jaxflow.training.features import KeptFeatures
from jaxflow.training.step import Encode, as_maps

# Images that take more are decoded again in each epoch, bytes.
_IMAGE_MEMORY = 2**30


class Batches(Protocol):
    """An endless sequence of training batches whose position can be saved and set."""

    def __next__(self) -> Any: ...

    @property
    def frozen(self) -> Any:
        """Return the variables that `encode` takes."""
        ...

    @property
    def encode(self) -> Encode:
        """Return what gives the feature maps of a batch."""
        ...

    def get_state(self) -> dict[str, Any]:
        """Return the position, JSON-able."""
        ...

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue at a position that `get_state` returned."""
        ...


class ImageBatches:
    """Batches u8[b, h, w, 3] of shuffled, augmented images, which a step encodes."""

    def __init__(
        self,
        encoder: Encoder,
        split: Split,
        size: tuple[int, int],
        batch_size: int,
        seed: int,
        augmentation: grain.transforms.RandomMap | None = None,
        devices: Devices = PMAP,
    ):
        self.encode: Encode = encoder.__call__
        self.frozen = encoder.variables
        self._devices = devices
        self._iterator = train_iterator(
            split,
            size=size,
            batch_size=batch_size,
            seed=seed,
            augmentation=augmentation,
            cache=3 * len(split) * size[0] * size[1] <= _IMAGE_MEMORY,
        )

    def __next__(self) -> np.ndarray:
        return self._devices.local_batch(next(self._iterator)["image"])

    def get_state(self) -> dict[str, Any]:
        """Return the position, JSON-able."""
        return self._iterator.get_state()

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue at a position that `get_state` returned."""
        self._iterator.set_state(state)


class FeatureBatches:
    """Batches of kept feature maps, in the same order as `ImageBatches` without augmentation."""

    def __init__(self, features: KeptFeatures, batch_size: int, seed: int, devices: Devices = PMAP):
        self.encode: Encode = as_maps
        self.frozen: Any = {}
        self._features = features
        self._batch_size = batch_size
        self._seed = seed
        self._devices = devices
        self._next = 0
        self._epoch = -1
        self._order = epoch_batches(len(features), batch_size, seed, 0)

    def __next__(self) -> tuple[Any, ...]:
        epoch, step = divmod(self._next, len(self._order))
        if epoch != self._epoch:
            self._order = epoch_batches(len(self._features), self._batch_size, self._seed, epoch)
            self._epoch = epoch
        self._next += 1
        return self._features.take(self._devices.local_batch(self._order[step]))

    def get_state(self) -> dict[str, Any]:
        """Return the position, JSON-able."""
        return {"next_index": self._next}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue at a position that `get_state` returned."""
        self._next = state["next_index"]
