"""Feature maps on one grid, and scores from that grid to pixels."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxflow.flows.arguments import check_count
from jaxflow.flows.resize import interpolation


def align(maps: Sequence[jax.Array]) -> jax.Array:
    """Resize all maps bilinearly to the first one's grid and concatenate their channels.

    Args:
      maps: one f[b, h_i, w_i, c_i] an encoder stage; the first has the finest grid.

    Returns:
      f[b, h_0, w_0, sum of c_i].
    """
    first, *others = maps
    resize = functools.partial(upsample, size=(first.shape[1], first.shape[2]))
    return jnp.concatenate([first, *(jax.vmap(resize, -1, -1)(m) for m in others)], -1)


def upsample(maps: jax.Array, size: tuple[int, int], align_corners: bool = False) -> jax.Array:
    """Resize maps bilinearly, as PyTorch's `interpolate` does.

    Args:
      maps: f[b, h, w].
      size: (height, width) wanted.
      align_corners: whether the corner values keep their corners.

    Returns:
      f[b, height, width].

    Raises:
      ValueError: if the size is not two integers of at least 1.
    """
    for name, length in zip(("height", "width"), size, strict=True):
        check_count(name, length)
    rows = interpolation(maps.shape[1], size[0], align_corners).astype(maps.dtype)
    columns = interpolation(maps.shape[2], size[1], align_corners).astype(maps.dtype)
    return jnp.einsum("Hh,bhw,Ww->bHW", rows, maps, columns, precision="highest")


def to_pixels(scores: jax.Array, size: tuple[int, int], smoothing: float) -> jax.Array:
    """Resize scores bilinearly to the input, then smooth them.

    Args:
      scores: f[b, h, w].
      size: (height, width) of the input, pixels.
      smoothing: standard deviation of the Gaussian filter, pixels; 0: no filter.

    Returns:
      f[b, height, width].
    """
    return smooth(upsample(scores, size), smoothing)


def smooth(maps: jax.Array, sigma: float) -> jax.Array:
    """Filter maps f[b, h, w] by a Gaussian, as `scipy.ndimage.gaussian_filter` does.

    Args:
      maps: f[b, h, w].
      sigma: standard deviation, pixels; the filter ends at four of them, and beyond an edge the
        map goes on as in a mirror. 0 leaves the maps as they are.
    """
    if sigma == 0:
        return maps
    rows, columns = (_gaussian(n, sigma).astype(maps.dtype) for n in maps.shape[1:])
    return jnp.einsum("Hh,bhw,Ww->bHW", rows, maps, columns, precision="highest")


def _gaussian(length: int, sigma: float) -> np.ndarray:
    """Return the f64[length, length] matrix of the one-dimensional filter."""
    from scipy import ndimage  # JAX brings SciPy; importing it takes most of a second.

    return ndimage.gaussian_filter1d(np.eye(length), sigma, axis=0)


def check_smoothing(value: Any) -> None:
    """Raise ValueError unless `value` is a finite number of at least 0."""
    if not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise ValueError(f"smoothing must be a number of at least 0, got {value!r}")
