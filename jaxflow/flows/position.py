"""The position code that CFLOW's decoders are conditioned on."""

import math

import jax
import jax.numpy as jnp

from jaxflow.flows.arguments import check_integer


def position_encoding(height: int, width: int, dim: int = 128) -> jax.Array:
    """Return the two-dimensional sine and cosine code of every position.

    With `r_k = 10000^(-4 k / dim)` for k < dim / 4, channel 2k holds `sin(r_k column)` and 2k + 1
    `cos(r_k column)`; the second half of the channels holds the same of the row.

    Args:
      height: rows, at least 1.
      width: columns, at least 1.
      dim: channels, a multiple of 4.

    Returns:
      f32[height, width, dim], in [-1, 1].

    Raises:
      ValueError: if one is no integer, dim is not a positive multiple of 4, or height or width is
        below 1.

    Example:
      >>> position_encoding(2, 3, dim=8).shape
      (2, 3, 8)

    Reference: arXiv 2107.12571, section 4.2 (after arXiv 1706.03762, section 3.5).
    """
    for name, value in {"height": height, "width": width, "dim": dim}.items():
        check_integer(name, value)
    if dim < 4 or dim % 4:
        raise ValueError(f"dim must be a positive multiple of 4, got {dim}")
    if height < 1 or width < 1:
        raise ValueError(f"height and width must be at least 1, got {height} and {width}")
    half = dim // 2
    rates = jnp.exp(jnp.arange(0, half, 2) * (-math.log(10000.0) / half))
    columns = jnp.broadcast_to(_harmonics(width, rates)[None], (height, width, half))
    rows = jnp.broadcast_to(_harmonics(height, rates)[:, None], (height, width, half))
    return jnp.concatenate([columns, rows], axis=-1)


def _harmonics(length, rates):
    """Return f32[length, 2 k]: sine and cosine alternating over the k rates."""
    angles = jnp.arange(length, dtype=jnp.float32)[:, None] * rates.astype(jnp.float32)[None]
    return jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1).reshape(length, -1)
