"""Feature maps on other grids, as PyTorch resizes them."""

import jax
import jax.numpy as jnp
import numpy as np


def resize_bilinear(x: jax.Array, height: int, width: int, align_corners: bool = True) -> jax.Array:
    """Resize x f[..., h, w, c] bilinearly to f[..., height, width, c].

    It is PyTorch's `interpolate(mode="bilinear")`; with align_corners, corners keep their values.
    """
    rows = interpolation(x.shape[-3], height, align_corners)
    columns = interpolation(x.shape[-2], width, align_corners)
    return _along_both(x, rows, columns)


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


def interpolation(source: int, target: int, align_corners: bool) -> np.ndarray:
    """Return the f64[target, source] matrix of one-dimensional linear interpolation."""
    if align_corners:
        place = np.arange(target) * ((source - 1) / max(target - 1, 1))
    else:
        place = np.clip((np.arange(target) + 0.5) * (source / target) - 0.5, 0, source - 1)
    low = np.floor(place).astype(int)
    high = np.minimum(low + 1, source - 1)
    matrix = np.zeros((target, source))
    np.add.at(matrix, (np.arange(target), low), 1.0 - (place - low))
    np.add.at(matrix, (np.arange(target), high), place - low)
    return matrix


def _windows(source: int, target: int) -> np.ndarray:
    """Return the f64[target, source] matrix of averages over windows."""
    start = np.arange(target) * source // target
    stop = -(-(np.arange(target) + 1) * source // target)
    places = np.arange(source)
    within = (places >= start[:, None]) & (places < stop[:, None])
    return within / within.sum(1, keepdims=True)
