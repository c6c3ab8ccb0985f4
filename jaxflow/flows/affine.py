"""A learned scale and offset per channel, the same at every position."""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxflow.flows.arguments import check_array, check_dtype, per_channel, per_position, widen
from jaxflow.flows.bijection import Bijection

# softplus with beta 0.5 times 0.1: this start makes the scale exactly 1.
_THETA_AT_SCALE_ONE = 2.0 * math.log(math.expm1(0.5 * 10.0))


class GlobalAffine(Bijection):
    """Scale and shift every channel.

    forward: `z = scale * x + offset`; log_det: `sum_c log scale` at every position;
    inverse: `x = (z - offset) / scale`; with `scale = 0.1 * softplus(theta; beta=0.5)`,
    which starts at 1 and stays positive.

    Attributes:
      param_dtype: dtype of `theta` f[c] and `offset` f[c]; they are used in at least float32.

    Raises:
      ValueError: if param_dtype or the dtype of x is not floating.

    Reference: arXiv 1907.02392 (the global affine of FrEIA's all-in-one block).
    """

    pointwise = True

    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def log_scale_and_offset(self, channels: int) -> tuple[jax.Array, jax.Array]:
        """Return log scale f[c], nats, and offset f[c]."""
        check_dtype("param_dtype", self.param_dtype)
        theta = self.param(
            "theta", nn.initializers.constant(_THETA_AT_SCALE_ONE), (channels,), self.param_dtype
        )
        offset = self.param("offset", nn.initializers.zeros, (channels,), self.param_dtype)
        scale = 0.1 * 2.0 * jax.nn.softplus(0.5 * widen(theta))
        return jnp.log(scale), widen(offset)

    def forward_and_log_det(
        self, x: jax.Array, condition: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Map x f[..., c] to z f[..., c] and log_det f[...], nats; no condition is read."""
        x = widen(check_array("x", x))
        log_scale, offset = self.log_scale_and_offset(x.shape[-1])
        z = x * per_channel(jnp.exp(log_scale), x) + per_channel(offset, x)
        return z, per_position(log_scale.sum(), z)

    def inverse_and_log_det(
        self, z: jax.Array, condition: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Map z f[..., c] to x f[..., c] and the inverse's log_det f[...], nats."""
        z = widen(check_array("z", z))
        log_scale, offset = self.log_scale_and_offset(z.shape[-1])
        x = (z - per_channel(offset, z)) * per_channel(jnp.exp(-log_scale), z)
        return x, per_position(-log_scale.sum(), x)
