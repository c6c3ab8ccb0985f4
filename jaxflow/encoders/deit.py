"""DeiT's blocks: attention and MLP after layer norms (arXiv 2012.12877; timm's deit.py)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxflow.encoders.transformer import Mlp, Rotation, TransformerBlock, layer_norm, split_heads


class Attention(nn.Module):
    """Multi-head self-attention: softmax(q k^T / sqrt(d)) v, projected."""

    heads: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return f[b, n, dim]."""
        dim = x.shape[-1]
        qkv = nn.Dense(3 * dim, dtype=self.dtype, name="qkv")(x)
        q, k, v = split_heads(qkv, self.heads)
        logits = jnp.einsum("bqhd,bkhd->bhqk", q * (dim // self.heads) ** -0.5, k)
        y = jnp.einsum("bhqk,bkhd->bqhd", nn.softmax(logits), v)
        return nn.Dense(dim, dtype=self.dtype, name="proj")(y.reshape(x.shape))


class DeiTBlock(TransformerBlock):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    @nn.compact
    def __call__(self, x: jax.Array, rotation: Rotation) -> tuple[jax.Array, None]:
        """Return the new tokens, f[b, n, dim], as the carry of a scan."""
        attention = Attention(self.heads, self.dtype, name="attn")
        x = x + attention(layer_norm(self.dtype, "norm1")(x))
        x = x + Mlp(self.dtype, name="mlp")(layer_norm(self.dtype, "norm2")(x))
        return x, None
