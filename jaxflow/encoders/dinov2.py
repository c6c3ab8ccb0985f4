"""DINOv2's blocks: DeiT's with layer scale (arXiv 2304.07193; timm's vision_transformer.py)."""

from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxflow.encoders.deit import Attention
from jaxflow.encoders.transformer import Mlp, Rotation, TransformerBlock, layer_norm


class LayerScale(nn.Module):
    """Scale each channel: y = gamma x."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return f[b, n, dim]."""
        return x * self.param("gamma", nn.initializers.ones, x.shape[-1:]).astype(self.dtype)


class DINOv2Block(TransformerBlock):
    """x + ls1(attention(norm(x))), then x + ls2(mlp(norm(x)))."""

    arrays: ClassVar = (("ls1", "gamma"), ("ls2", "gamma"))

    @nn.compact
    def __call__(self, x: jax.Array, rotation: Rotation) -> tuple[jax.Array, None]:
        """Return the new tokens, f[b, n, dim], as the carry of a scan."""
        attention = Attention(self.heads, self.dtype, name="attn")
        y = attention(layer_norm(self.dtype, "norm1")(x))
        x = x + LayerScale(self.dtype, name="ls1")(y)
        y = Mlp(self.dtype, name="mlp")(layer_norm(self.dtype, "norm2")(x))
        return x + LayerScale(self.dtype, name="ls2")(y), None
