"""The networks of MSFlow's couplings: of one map given its position, and of all maps together."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxflow.flows.arguments import check_maps
from jaxflow.flows.conditioner import (
    ConvNetwork,
    bias_uniform,
    check_input,
    fan_in_uniform,
    hidden_width,
    join,
)
from jaxflow.flows.resize import pool_average, resize_bilinear


class NormalizedConvConditioner(ConvNetwork):
    """Convolution k x k, layer norm of the channels, ReLU, convolution k x k.

    Attributes:
      kernel_size: k, odd.
      hidden_ratio: hidden width over the width of the input, condition included.
      dtype: compute dtype; None computes in the dtype of `a`.
      param_dtype: dtype of the parameters.
      precision: of the products, as `jax.lax` takes it.
      output_init: initializer of the last kernel; PyTorch's default.

    Raises:
      ValueError: as `ConvConditioner`.

    Source: MSFlow's public code (arXiv 2308.15300).
    """

    @nn.compact
    def __call__(
        self, a: jax.Array, condition: jax.Array | None = None, *, features: int
    ) -> jax.Array:
        """Map a f[..., h, w, c_a] (and condition f[..., h, w, d]) to f[..., h, w, features]."""
        self.check()
        a = join(*check_input(a, condition))
        x = _normalized_convolution(self, hidden_width(self.hidden_ratio, a.shape[-1]), a)
        return _convolution(self, "output", features, x, self.output_init)


class FusionConditioner(ConvNetwork):
    """One network that sees all maps on the grid of the last, and a convolution for each map.

    With g = relu(conv(relu(layer_norm(conv(concat of all a_i, averaged to the last map's grid))))),
    the output of map i is `conv_i(a_i + resize(g_i))`, where g_i are its channels of g, resized
    bilinearly.

    Attributes:
      kernel_size: of all convolutions, odd.
      hidden_ratio: hidden width over the channels of all a_i together (rounded, at least 1).
      dtype: compute dtype; None computes in the dtype of a.
      param_dtype: dtype of the parameters.
      precision: of the convolutions, as `jax.lax` takes it.
      output_init: initializer of the last kernels; PyTorch's default.

    Raises:
      ValueError: if `kernel_size` is even, hidden_ratio is not positive, a dtype is not floating,
        or precision is none of JAX's.

    Reference: arXiv 2308.15300, section 3.3.
    """

    hidden_ratio: float = 0.25

    @nn.compact
    def __call__(
        self, a: Sequence[jax.Array], condition: Any = None, *, features: Sequence[int]
    ) -> tuple[jax.Array, ...]:
        """Map each a f[..., h, w, c] to f[..., h, w, features_i]; no condition is read."""
        self.check()
        widths = [each.shape[-1] for each in check_maps("a", a)]
        *_, height, width, _ = a[-1].shape
        x = jnp.concatenate([pool_average(each, height, width) for each in a], axis=-1)
        hidden = hidden_width(self.hidden_ratio, x.shape[-1])
        x = _normalized_convolution(self, hidden, x)
        x = nn.relu(_convolution(self, "middle", sum(widths), x))
        outputs = []
        for i, (own, given) in enumerate(zip(a, jax.lax.split(x, widths, x.ndim - 1), strict=True)):
            height, width = own.shape[-3:-1]
            own = own + resize_bilinear(given, height, width)
            outputs.append(_convolution(self, f"output_{i}", features[i], own, self.output_init))
        return tuple(outputs)


def _convolution(conditioner, name, features, x, kernel_init=fan_in_uniform):
    """Return a convolution of x, with PyTorch's start."""
    bias_init = bias_uniform(conditioner.kernel_size**2 * x.shape[-1])
    conv = conditioner.convolution
    return conv(features, kernel_init=kernel_init, bias_init=bias_init, name=name)(x)


def _normalized_convolution(conditioner, features, x):
    """Return relu(layer_norm(conv(x))), the norm over the channels."""
    x = _convolution(conditioner, "input", features, x)
    norm = nn.LayerNorm(
        epsilon=1e-5,
        dtype=conditioner.dtype,
        param_dtype=conditioner.param_dtype,
        use_fast_variance=False,
        name="norm",
    )
    return nn.relu(norm(x))
