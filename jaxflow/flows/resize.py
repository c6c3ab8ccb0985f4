"""Feature maps on other grids, as PyTorch resizes them."""

import jax
import jax.numpy as jnp
import numpy as np


def resize_bilinear(x: jax.Array, height: int, width: int) -> jax.Array:
    """Resize x f[..., h, w, c] bilinearly to f[..., height, width, c]; corners keep their values.

    It is PyTorch's `interpolate(mode="bilinear", align_corners=True)`.
    """
    return _along_both(x, _interpolation(x.shape[-3], height), _interpolation(x.shape[-2], width))


def pool_average(x: jax.Array, height: int, width: int) -> jax.Array:
    """Average x f[..., h, w, c] over windows that cover it: f[..., height, width, c].

    Window i of n over a side of length l goes from floor(i l / n) to ceil((i + 1) l / n). It is
    PyTorch's `adaptive_avg_pool2d`.
    """
    return _along_both(x, _windows(x.shape[-3], height), _windows(x.shape[-2], width))


def _along_both(x, rows, columns):
    """Multiply height and width of x f[..., h, w, c] by matrices."""
    rows, columns = (jnp.asarray(matrix, x.dtype) for matrix in (rows, columns))
    return jnp.einsum("Hh,...hwc,Ww->...HWc", rows, x, columns, precision="highest")


def _interpolation(source: int, target: int) -> np.ndarray:
    """Return the f64[target, source] matrix of linear interpolation with the corners aligned."""
    place = np.arange(target) * ((source - 1) / max(target - 1, 1))
    return np.maximum(0.0, 1.0 - np.abs(place[:, None] - np.arange(source)))


def _windows(source: int, target: int) -> np.ndarray:
    """Return the f64[target, source] matrix of averages over windows."""
    start = np.arange(target) * source // target
    stop = -(-(np.arange(target) + 1) * source // target)
    places = np.arange(source)
    within = (places >= start[:, None]) & (places < stop[:, None])
    return within / within.sum(1, keepdims=True)
