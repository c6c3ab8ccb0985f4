"""DINOv3's blocks: rotary positions and layer scale (arXiv 2508.10104; timm's eva.py)."""

from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxflow.encoders.transformer import (
    Mlp,
    Rotation,
    TransformerBlock,
    layer_norm,
    split_heads,
)

_TEMPERATURE = 100.0


def place_rotation(
    prefix: int, height: int, width: int, head_dim: int
) -> tuple[jax.Array, jax.Array]:
    """Give the cosines and sines that queries and keys are rotated by.

    A patch at row r and column c has the angles 2 pi y / T_k and 2 pi x / T_k, with
    y = 2 (r + 1/2) / height - 1, x = 2 (c + 1/2) / width - 1 and T_k = 100^(4 k / head_dim),
    k = 0 ... head_dim / 4 - 1. The tokens before the patches are not rotated: their angles are 0.

    Args:
      prefix: tokens before the patches.
      height: of the grid of patches.
      width: of the grid of patches.
      head_dim: channels of a head, a multiple of 4.

    Returns:
      Cosines and sines, f[prefix + height * width, head_dim] each; both halves of the channels
      have the same angles.
    """
    y = 2.0 * (np.arange(height) + 0.5) / height - 1.0
    x = 2.0 * (np.arange(width) + 0.5) / width - 1.0
    places = np.stack(np.meshgrid(y, x, indexing="ij"), -1).reshape(-1, 2, 1)
    periods = _TEMPERATURE ** (4.0 * np.arange(head_dim // 4) / head_dim)
    angles = (2.0 * np.pi * places / periods).reshape(height * width, head_dim // 2)
    angles = np.tile(np.pad(angles, ((prefix, 0), (0, 0))), 2)
    return jnp.asarray(np.cos(angles)), jnp.asarray(np.sin(angles))


def rotate(x: jax.Array, by: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Rotate the plane of channels i and i + d / 2 of each head by the i-th angle of the token.

    Args:
      x: f[b, n, heads, d].
      by: cosines and sines, see `place_rotation`.

    Returns:
      f[b, n, heads, d], of the dtype of x.
    """
    # In at least float32, where angles of 16 bits would confuse neighbours.
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    cos, sin = (each[:, None].astype(wide.dtype) for each in by)
    first, second = jnp.split(wide, 2, axis=-1)
    return (wide * cos + jnp.concatenate([-second, first], axis=-1) * sin).astype(x.dtype)


class RotaryAttention(nn.Module):
    """Multi-head self-attention whose queries and keys are rotated by their places (RoPE)."""

    heads: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, by: tuple[jax.Array, jax.Array]) -> jax.Array:
        """Return f[b, n, dim]."""
        dim = x.shape[-1]
        # The trained biases of queries, keys and values are all 0: timm stores none.
        qkv = nn.Dense(3 * dim, use_bias=False, dtype=self.dtype, name="qkv")(x)
        q, k, v = split_heads(qkv, self.heads)
        q, k = rotate(q, by), rotate(k, by)
        logits = jnp.einsum("bqhd,bkhd->bhqk", q * (dim // self.heads) ** -0.5, k)
        y = jnp.einsum("bhqk,bkhd->bqhd", nn.softmax(logits), v)
        return nn.Dense(dim, dtype=self.dtype, name="proj")(y.reshape(x.shape))


class DINOv3Block(TransformerBlock):
    """x + gamma_1 attention(norm(x)), then x + gamma_2 mlp(norm(x)); gammas are per channel."""

    unbiased: ClassVar = (("attn", "qkv"),)
    arrays: ClassVar = (("gamma_1",), ("gamma_2",))
    epsilon: ClassVar = 1e-5

    @nn.compact
    def __call__(self, x: jax.Array, rotation: Rotation) -> tuple[jax.Array, None]:
        """Return the new tokens, f[b, n, dim], as the carry of a scan."""
        ones = nn.initializers.ones
        gamma_1 = self.param("gamma_1", ones, x.shape[-1:]).astype(self.dtype)
        gamma_2 = self.param("gamma_2", ones, x.shape[-1:]).astype(self.dtype)
        attention = RotaryAttention(self.heads, self.dtype, name="attn")
        x = x + gamma_1 * attention(layer_norm(self.dtype, "norm1", self.epsilon)(x), rotation)
        y = Mlp(self.dtype, name="mlp")(layer_norm(self.dtype, "norm2", self.epsilon)(x))
        return x + gamma_2 * y, None

    @classmethod
    def rotation(cls, prefix: int, height: int, width: int, head_dim: int) -> Rotation:
        """Give the cosines and sines of every token; see `place_rotation`."""
        return place_rotation(prefix, height, width, head_dim)
