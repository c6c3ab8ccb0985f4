"""What every encoder module is: a Linen module that says which maps it gives."""

import abc
from typing import Any, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxflow.encoders.layout import Layout


class Features(Protocol):
    """What an `Encoder` needs of its module; every `FeatureModule` has it."""

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of each map."""
        ...

    @property
    def strides(self) -> tuple[int, ...]:
        """Input pixels along one side of one position of each map."""
        ...

    @property
    def dtype(self) -> Any:
        """Dtype of the images that it takes."""
        ...

    @property
    def apply(self) -> Any:
        """(variables, standardized images f[b, h, w, 3]) -> maps f[b, h_i, w_i, c_i]."""
        ...


class FeatureModule(nn.Module, abc.ABC):
    """Give the feature maps named by `stages`, and nothing that they do not need.

    `__call__` takes standardized images, f[b, h, w, 3], and returns one map f[b, h_i, w_i, c_i] a
    stage, in order. A map of stride s is ceil(h / s) by ceil(w / s).

    What a stage number means, for every encoder:
      ResNet: 1 to 4, the residual stages (PyTorch's layer1 to layer4).
      MobileNetV3, EfficientNet: 1 to 7, the groups of blocks of equal width (timm's blocks.0 to
        blocks.6); those before a stride, 1, 2, 3, 5 and 7, are timm's `feature_info`.
      Transformers: 0 to depth - 1, the map after that block (timm's blocks.N), final norm applied.
    """

    # Given by keyword everywhere; the defaults only satisfy the order of dataclass fields.
    stages: tuple[int, ...] = ()
    dtype: Any = jnp.float32

    @property
    @abc.abstractmethod
    def channels(self) -> tuple[int, ...]:
        """Channels of each map."""

    @property
    @abc.abstractmethod
    def strides(self) -> tuple[int, ...]:
        """Input pixels along one side of one position of each map."""

    @abc.abstractmethod
    def layout(self) -> Layout:
        """Tell where each parameter lies in timm's weights file."""

    @abc.abstractmethod
    def __call__(self, x: jax.Array) -> tuple[jax.Array, ...]:
        """Return the maps of standardized images."""
