"""Conditioners: the networks that read one half of the channels to transform the other."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxflow.flows.convolution import conv_general_dilated

# PyTorch's default for a convolution and a dense layer: U(-1, 1) / sqrt(fan_in).
fan_in_uniform = nn.initializers.variance_scaling(1.0 / 3.0, "fan_in", "uniform")


def _hidden_width(ratio: float, channels: int) -> int:
    return max(1, int(ratio * channels + 0.5))


def _join(a: jax.Array, condition: jax.Array | None) -> jax.Array:
    return a if condition is None else jnp.concatenate([a, condition.astype(a.dtype)], axis=-1)


class ConvConditioner(nn.Module):
    """Convolution k x k, ReLU, convolution k x k, both zero-padded to keep h and w.

    Attributes:
      kernel_size: k, odd.
      hidden_ratio: hidden width over the channels of `a` (rounded, at least 1).
      dtype: compute dtype of the convolutions; None computes in the dtype of `a`.
      param_dtype: dtype of the parameters.
      output_init: initializer of the last kernel; PyTorch's default, as in the public code, learns
        faster than zeros, which make the flow start as a permutation.

    Raises:
      ValueError: if `kernel_size` is even, or `a` is not f[..., h, w, c].

    Reference: arXiv 2111.07677, section 3.3 and Figure 2 (b).
    """

    kernel_size: int = 3
    hidden_ratio: float = 1.0
    dtype: jnp.dtype | None = None
    param_dtype: jnp.dtype = jnp.float32
    output_init: Callable = fan_in_uniform

    @nn.compact
    def __call__(
        self, a: jax.Array, condition: jax.Array | None = None, *, features: int
    ) -> jax.Array:
        """Map a f[..., h, w, c_a] (and condition f[..., h, w, d]) to f[..., h, w, features]."""
        if self.kernel_size % 2 == 0 or self.kernel_size < 1:
            raise ValueError(f"kernel_size must be odd and positive, got {self.kernel_size}")
        if a.ndim < 3:
            raise ValueError(f"a 2D flow takes x[..., h, w, c], got shape with {a.ndim} axes")
        hidden = _hidden_width(self.hidden_ratio, a.shape[-1])
        conv = functools.partial(
            nn.Conv,
            kernel_size=(self.kernel_size, self.kernel_size),
            padding="SAME",
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            precision="highest",
            conv_general_dilated=conv_general_dilated,
        )
        x = conv(hidden, kernel_init=fan_in_uniform, name="input")(_join(a, condition))
        return conv(features, kernel_init=self.output_init, name="output")(nn.relu(x))


class DenseConditioner(nn.Module):
    """Dense, ReLU, dense, on the last axis alone.

    Attributes:
      hidden_ratio: hidden width over the width of the input, condition included.
      dtype: compute dtype; None computes in the dtype of `a`.
      param_dtype: dtype of the parameters.
      output_init: initializer of the last kernel; PyTorch's default.

    Reference: arXiv 2107.12571, section 4.2 (a decoder's subnet: d -> 2d -> ReLU -> out).
    """

    hidden_ratio: float = 2.0
    dtype: jnp.dtype | None = None
    param_dtype: jnp.dtype = jnp.float32
    output_init: Callable = fan_in_uniform

    @nn.compact
    def __call__(
        self, a: jax.Array, condition: jax.Array | None = None, *, features: int
    ) -> jax.Array:
        """Map a f[..., c_a] (and condition f[..., d]) to f[..., features]."""
        x = _join(a, condition)
        dense = functools.partial(
            nn.Dense, dtype=self.dtype, param_dtype=self.param_dtype, precision="highest"
        )
        hidden = _hidden_width(self.hidden_ratio, x.shape[-1])
        x = dense(hidden, kernel_init=fan_in_uniform, name="input")(x)
        return dense(features, kernel_init=self.output_init, name="output")(nn.relu(x))
