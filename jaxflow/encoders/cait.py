"""CaiT's blocks: talking heads and layer scale (arXiv 2103.17239; timm's cait.py)."""

from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxflow.encoders.transformer import Mlp, Rotation, TransformerBlock, layer_norm, split_heads


class HeadMix(nn.Module):
    """Mix the heads of attention maps: out_g = bias_g + sum_h kernel_hg in_h."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map f[b, heads, n, n] to the same shape, without moving the heads to the last axis."""
        heads = x.shape[1]
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (heads, heads))
        bias = self.param("bias", nn.initializers.zeros, (heads,))
        y = jnp.einsum("bhqk,hg->bgqk", x, kernel.astype(self.dtype))
        return y + bias.astype(self.dtype)[:, None, None]


class TalkingHeadAttention(nn.Module):
    """Self-attention whose heads are mixed before and after the softmax (arXiv 2003.02436)."""

    heads: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return f[b, n, dim]."""
        dim = x.shape[-1]
        qkv = nn.Dense(3 * dim, dtype=self.dtype, name="qkv")(x)
        q, k, v = split_heads(qkv, self.heads)
        logits = jnp.einsum("bqhd,bkhd->bhqk", q * (dim // self.heads) ** -0.5, k)
        attention = nn.softmax(HeadMix(self.dtype, name="proj_l")(logits))
        attention = HeadMix(self.dtype, name="proj_w")(attention)
        y = jnp.einsum("bhqk,bkhd->bqhd", attention, v)
        return nn.Dense(dim, dtype=self.dtype, name="proj")(y.reshape(x.shape))


class CaiTBlock(TransformerBlock):
    """x + gamma_1 attention(norm(x)), then x + gamma_2 mlp(norm(x)); gammas are per channel."""

    dense: ClassVar = (*TransformerBlock.dense, ("attn", "proj_l"), ("attn", "proj_w"))
    arrays: ClassVar = (("gamma_1",), ("gamma_2",))

    @nn.compact
    def __call__(self, x: jax.Array, rotation: Rotation) -> tuple[jax.Array, None]:
        """Return the new tokens, f[b, n, dim], as the carry of a scan."""
        ones = nn.initializers.ones
        gamma_1 = self.param("gamma_1", ones, x.shape[-1:]).astype(self.dtype)
        gamma_2 = self.param("gamma_2", ones, x.shape[-1:]).astype(self.dtype)
        attention = TalkingHeadAttention(self.heads, self.dtype, name="attn")
        x = x + gamma_1 * attention(layer_norm(self.dtype, "norm1")(x))
        x = x + gamma_2 * Mlp(self.dtype, name="mlp")(layer_norm(self.dtype, "norm2")(x))
        return x, None
