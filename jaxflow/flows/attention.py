"""A conditioner of transformer blocks, in which every position sees all others."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxflow.flows.arguments import check_count
from jaxflow.flows.conditioner import check_input, check_parts, join

_INIT = nn.initializers.xavier_uniform()


class AttentionConditioner(nn.Module):
    """A linear map, a learned code of each position, transformer blocks, and a linear map.

    A block is layer norm and self-attention over all positions, then layer norm and two dense
    layers, four times as wide inside; each is added to what it reads. One more layer norm follows
    the last. The codes f[h w, width] fix the size of the input.

    Attributes:
      width: channels of the blocks.
      blocks: number of them.
      heads: of the attention, a divisor of width.
      dtype: compute dtype; None computes in the dtype of `a`.
      param_dtype: dtype of the parameters.
      precision: of the products, as `jax.lax` takes it.
      output_init: initializer of the last kernel; zeros, so that a coupling starts as a scale.

    Raises:
      ValueError: if a number is less than 1, heads do not divide width, a dtype is not floating,
        precision is none of JAX's, `a` is not f[..., h, w, c], or the condition's leading axes do
        not broadcast to its.

    Reference: arXiv 2412.15129, section 3.
    """

    width: int = 256
    blocks: int = 1
    heads: int = 4
    dtype: jnp.dtype | None = None
    param_dtype: jnp.dtype = jnp.float32
    precision: Any = "highest"
    output_init: Callable = nn.initializers.zeros

    @nn.compact
    def __call__(
        self, a: jax.Array, condition: jax.Array | None = None, *, features: int
    ) -> jax.Array:
        """Map a f[..., h, w, c_a] (and condition f[..., h, w, d]) to f[..., h, w, features]."""
        for name in ("width", "blocks", "heads"):
            check_count(name, getattr(self, name))
        if self.width % self.heads:
            raise ValueError(f"heads must divide width {self.width}, got {self.heads}")
        check_parts(self)
        a, condition = check_input(a, condition)
        a = join(a, condition)
        *batch, height, width, channels = a.shape
        positions = a.reshape(*batch, height * width, channels)
        x = self._dense(self.width, nn.initializers.lecun_normal(), name="input")(positions)
        draw = nn.initializers.normal(self.width**-0.5)
        code = self.param("code", draw, (height * width, self.width), self.param_dtype)
        x += jnp.broadcast_to(code.astype(x.dtype), x.shape)
        for i in range(self.blocks):
            x = self._block(x, f"block_{i}")
        x = self._norm("norm")(x)
        x = self._dense(features, kernel_init=self.output_init, name="output")(x)
        return x.reshape(*batch, height, width, features)

    def _block(self, x, name):
        attention = nn.MultiHeadDotProductAttention(
            self.heads, kernel_init=_INIT, name=f"{name}_attention", **self._numbers
        )
        x += attention(self._norm(f"{name}_norm_0")(x))
        y = self._dense(4 * self.width, name=f"{name}_inner")(self._norm(f"{name}_norm_1")(x))
        return x + self._dense(self.width, name=f"{name}_outer")(nn.gelu(y))

    @property
    def _numbers(self):
        return {
            "dtype": self.dtype,
            "param_dtype": self.param_dtype,
            "precision": self.precision,
        }

    def _dense(self, features, kernel_init=_INIT, **options):
        return nn.Dense(features, kernel_init=kernel_init, **self._numbers, **options)

    def _norm(self, name):
        return nn.LayerNorm(
            use_fast_variance=False, dtype=self.dtype, param_dtype=self.param_dtype, name=name
        )
