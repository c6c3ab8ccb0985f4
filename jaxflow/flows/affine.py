"""A learned scale and offset per channel, the same at every position."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxflow.flows.arguments import (
    check_array,
    check_dtype,
    check_moments,
    per_channel,
    per_position,
    widen,
)
from jaxflow.flows.bijection import Bijection, Value

# softplus with beta 0.5 times 0.1: this start makes the scale exactly 1.
_THETA_AT_SCALE_ONE = 2.0 * math.log(math.expm1(0.5 * 10.0))
# Of a channel that never changes.
_LEAST_STD = 1e-5


class _ChannelAffine(Bijection):
    """What `GlobalAffine` and `ActNorm` share: all but the form of the scale."""

    pointwise = True

    param_dtype: jnp.dtype = jnp.float32

    def log_scale_and_offset(self, channels: int) -> tuple[jax.Array, jax.Array]:
        """Return log scale f[c], nats, and offset f[c]."""
        raise NotImplementedError(f"{type(self).__name__} must define log_scale_and_offset")

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


class GlobalAffine(_ChannelAffine):
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


class ActNorm(_ChannelAffine):
    """Scale and shift every channel; the start is computed from data.

    forward: `z = exp(log_scale) * x + offset`; log_det: `sum_c log_scale` at every position;
    inverse: `x = (z - offset) / exp(log_scale)`.

    It starts as the identity. `act_norm_params` gives the parameters with which z has mean 0 and
    deviation 1 in every channel, `start_from_data` those of every ActNorm in a flow; all are then
    trained.

    Attributes:
      param_dtype: dtype of `log_scale` f[c] and `offset` f[c]; they are used in at least float32.

    Raises:
      ValueError: if param_dtype or the dtype of x is not floating.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> x = 3.0 + 2.0 * jax.random.normal(jax.random.key(0), (1000, 4))
      >>> variables = {"params": act_norm_params(x.mean(0), x.std(0))}
      >>> z = ActNorm().apply(variables, x)
      >>> bool(abs(z.mean()) < 1e-4), bool(abs(z.std() - 1.0) < 1e-4)
      (True, True)

    Reference: arXiv 1807.03039, section 3.1.
    """

    starts_from_data = True

    @nn.compact
    def log_scale_and_offset(self, channels: int) -> tuple[jax.Array, jax.Array]:
        """Return log scale f[c], nats, and offset f[c]."""
        check_dtype("param_dtype", self.param_dtype)
        log_scale = self.param("log_scale", nn.initializers.zeros, (channels,), self.param_dtype)
        offset = self.param("offset", nn.initializers.zeros, (channels,), self.param_dtype)
        return widen(log_scale), widen(offset)


def act_norm_params(mean: jax.Array, std: jax.Array) -> dict[str, jax.Array]:
    """Return the parameters of an `ActNorm` that standardizes its input.

    `log_scale = -log std`; `offset = -mean / std`.

    Args:
      mean: f[c], of the input of the ActNorm over all images and positions.
      std: f[c], its deviation; one below 1e-5 counts as 1e-5.

    Returns:
      `{"log_scale": f[c], "offset": f[c]}`.

    Raises:
      ValueError: if one is not a floating f[c], or they differ in shape.
    """
    mean, std = check_moments(mean, std)
    std = jnp.maximum(std, _LEAST_STD)
    return {"log_scale": -jnp.log(std), "offset": -mean / std}


def start_from_data(flow: Bijection, variables: Any, x: Value, condition: Value = None) -> Any:
    """Return a flow's variables, with every `ActNorm` set by what reaches it of a batch.

    The batch runs through the flow once. Each ActNorm is set before it is applied, so that its
    output has mean 0 and deviation 1 in every channel over the batch, and so on to the last.

    Args:
      flow: that holds them.
      variables: of it; all but those of the ActNorms stay.
      x: as the flow takes it; no image may be missing or filled up.
      condition: as the flow takes it.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxflow.flows import Chain
      >>> flow = Chain([ActNorm(), ActNorm()])
      >>> x = 3.0 * jax.random.normal(jax.random.key(0), (9, 4))
      >>> variables = start_from_data(flow, flow.init(jax.random.key(1), x), x)
      >>> bool(abs(flow.apply(variables, x).std() - 1.0) < 1e-3)
      True

    Reference: arXiv 1807.03039, section 3.1.
    """

    def set_first(method, arguments, named, context):
        module = context.module
        if isinstance(module, ActNorm) and context.method_name == "forward_and_log_det":
            values = widen(arguments[0]).reshape(-1, arguments[0].shape[-1])
            for name, value in act_norm_params(values.mean(0), values.std(0)).items():
                module.put_variable("params", name, value.astype(module.param_dtype))
        return method(*arguments, **named)

    with nn.intercept_methods(set_first):
        _, changed = flow.apply(variables, x, condition, mutable=["params"])
    return {**variables, **changed}
