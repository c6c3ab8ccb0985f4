"""A frozen encoder: a module, its weights, and how images are made ready for it."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxflow.encoders.module import Features
from jaxflow.encoders.neighbourhood import average_neighbourhood
from jaxflow.errors import InputError


@dataclasses.dataclass(frozen=True, eq=False)
class Encoder:
    """Map images to feature maps, purely: `maps = encoder(encoder.variables, images)`.

    Attributes:
      name: key of `ENCODERS`.
      tag: timm's name of the training recipe, e.g. tv_in1k; None if nobody said.
      weights: the source as given: hub, random or a path; or function.
      sha256: of the weights file, or of the variables of a function, in hexadecimal; None for
        random weights.
      stages: which maps (see `FeatureModule`).
      module: a Linen module, or a function as `function_encoder` takes it.
      variables: its variables, f32 arrays of numpy; `jax.device_put` them once, for a jitted call
        copies host arrays again each time.
      mean: per color, in units of the intensity range [0, 1].
      std: per color, in the same units.
      input_size: default side of the (square) input, pixels.
      size_multiple: what both sides of the input must be divisible by.
      commit: of the hub's repository that the weights came from; None elsewhere.
      neighbourhood: side of the square that each map is averaged over around each position, odd;
        1: none. See `average_neighbourhood`.
      input_scales: the image is encoded once at each of these: at 2, every second pixel in both
        directions. The maps are those of the first scale, then those of the next.
      pooled: whether each map is averaged over all its positions, to a map of one position.

    Raises:
      InputError: if the neighbourhood is not odd and positive, the scales are not whole numbers
        from 1 in increasing order, pooled is no bool, or there are both pooled maps and a
        neighbourhood.
    """

    name: str
    tag: str | None
    weights: str
    sha256: str | None
    stages: tuple[int, ...]
    module: Features
    variables: Any
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    input_size: int
    size_multiple: int = 1
    commit: str | None = None
    neighbourhood: int = 1
    input_scales: tuple[int, ...] = (1,)
    pooled: bool = False

    def __post_init__(self):
        side = self.neighbourhood
        if isinstance(side, bool) or not isinstance(side, int) or side < 1 or side % 2 == 0:
            raise InputError(
                f"encoder {self.name}: neighbourhood must be odd and positive, got {side!r}"
            )
        _check_scales(self.name, self.input_scales)
        if not isinstance(self.pooled, bool):
            raise InputError(
                f"encoder {self.name}: pooled must be True or False, got {self.pooled!r}"
            )
        if self.pooled and side > 1:
            raise InputError(
                f"encoder {self.name}: neighbourhood {side} has no effect with pooled, which "
                "averages over all positions; leave one of them out"
            )

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of each map."""
        return self.module.channels * len(self.input_scales)

    @property
    def strides(self) -> tuple[int, ...]:
        """Input pixels along one side of one position of each map, before it is pooled."""
        return tuple(k * stride for k in self.input_scales for stride in self.module.strides)

    def __call__(self, variables: Any, images: jax.Array | np.ndarray) -> tuple[jax.Array, ...]:
        """Give the feature maps of images.

        Standardize, (x / 255 - mean) / std, run the module at each of the input scales, average
        over the neighbourhood, or over all positions.

        Args:
          variables: `self.variables`, or a copy of them placed or replicated elsewhere.
          images: u8[b, h, w, 3], or floating point, intensities in [0, 255].

        Returns:
          One map f32[b, ceil(h / stride), ceil(w / stride), channels] a scale and stage; f32[b, 1,
          1, channels] if they are pooled.

        Raises:
          InputError: if the encoder cannot take images of this size.
          ValueError: if the images are not [b, h, w, 3].
        """
        if images.ndim != 4 or images.shape[-1] != 3:
            raise ValueError(f"images must be [b, h, w, 3], got {list(images.shape)}")
        self.check_input_size((images.shape[1], images.shape[2]))
        scale = 1.0 / (255.0 * np.asarray(self.std))
        offset = -np.asarray(self.mean) / np.asarray(self.std)
        dtype = self.module.dtype
        x = jnp.asarray(images).astype(jnp.promote_types(dtype, jnp.float32))
        x = x * jnp.asarray(scale, x.dtype) + jnp.asarray(offset, x.dtype)
        x = x.astype(dtype)
        runs = [self.module.apply(variables, x[:, ::k, ::k]) for k in self.input_scales]
        wide = [m.astype(jnp.float32) for maps in runs for m in maps]
        if self.pooled:
            return tuple(m.mean((1, 2), keepdims=True) for m in wide)
        return tuple(average_neighbourhood(m, self.neighbourhood) for m in wide)

    @functools.cached_property
    def compiled(self) -> Callable[..., tuple[jax.Array, ...]]:
        """The call, compiled once for each shape of images."""
        return jax.jit(self.__call__)

    def map_sizes(self, size: tuple[int, int]) -> tuple[tuple[int, int], ...]:
        """Give the (height, width) of each map for an input of (height, width).

        Raises:
          InputError: if the encoder cannot take that size.
        """
        self.check_input_size(size)
        height, width = size
        if self.pooled:
            return ((1, 1),) * len(self.strides)
        return tuple((-(-height // s), -(-width // s)) for s in self.strides)

    def check_input_size(self, size: tuple[int, int]) -> None:
        """Check that the encoder takes an input of (height, width).

        Raises:
          InputError: if a side is not a multiple of `size_multiple` at each of the input scales, or
            shorter than a position of the coarsest map.
        """
        height, width = size
        least, multiple = max(self.strides), self.size_multiple
        if multiple > 1:
            multiple *= math.lcm(*self.input_scales)
        if min(height, width) < least:
            raise InputError(
                f"input size {height} x {width}: too small for {self.name} at stages "
                f"{list(self.stages)}, expected at least {least} x {least}"
            )
        if height % multiple or width % multiple:
            raise InputError(
                f"input size {height} x {width}: {self.name} takes multiples of {multiple}, e.g. "
                f"{_nearest(height, multiple)} x {_nearest(width, multiple)}"
            )


def _check_scales(name: str, scales: Any) -> None:
    whole = isinstance(scales, tuple) and all(type(k) is int and k > 0 for k in scales)
    if not whole or not scales or any(a >= b for a, b in zip(scales, scales[1:], strict=False)):
        raise InputError(
            f"encoder {name}: input_scales must be whole numbers from 1 in increasing order, such "
            f"as (1, 2, 4), got {scales!r}"
        )


def _nearest(side: int, multiple: int) -> int:
    return max(1, round(side / multiple)) * multiple
