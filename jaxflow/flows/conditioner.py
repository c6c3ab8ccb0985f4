"""Conditioners: the networks that read one half of the channels to transform the other."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxflow.flows.arguments import (
    check_array,
    check_callable,
    check_condition,
    check_count,
    check_dtype,
    check_odd,
    check_positive,
    check_precision,
    check_sequence,
    per_channel,
)
from jaxflow.flows.convolution import conv_general_dilated

# PyTorch's default for the kernel of a convolution and of a dense layer: U(-1, 1) / sqrt(fan_in).
fan_in_uniform = nn.initializers.variance_scaling(1.0 / 3.0, "fan_in", "uniform")


# XLA counts the channels of an array in 32 bits.
_WIDEST = 2**31 - 1


def bias_uniform(fan_in: int) -> Callable:
    """Return PyTorch's default initializer of their bias, of the same deviation."""
    bound = fan_in**-0.5
    return lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -bound, bound)


def hidden_width(ratio: float, channels: int) -> int:
    """Return ratio * channels, rounded, at least 1.

    Raises:
      ValueError: if the ratio is not positive, or the width is more than XLA can count.
    """
    check_positive("hidden_ratio", ratio)
    if ratio * channels > _WIDEST:
        raise ValueError(f"hidden_ratio must give at most {_WIDEST} hidden channels, got {ratio}")
    return max(1, int(ratio * channels + 0.5))


def check_parts(conditioner: Any) -> None:
    """Raise ValueError unless the dtypes, precision and output_init of a conditioner are valid."""
    if conditioner.dtype is not None:
        check_dtype("dtype", conditioner.dtype)
    check_dtype("param_dtype", conditioner.param_dtype)
    check_precision("precision", conditioner.precision)
    check_callable("output_init", conditioner.output_init, "an initializer")


def join(a: jax.Array, condition: jax.Array | None) -> jax.Array:
    """Return concat(a, condition), the condition broadcast to the positions of a."""
    if condition is None:
        return a
    condition = jnp.broadcast_to(condition, (*a.shape[:-1], condition.shape[-1]))
    return jnp.concatenate([a, condition.astype(a.dtype)], axis=-1)


class ConvNetwork(nn.Module):
    """What the networks of zero-padded convolutions share: their fields.

    Attributes:
      kernel_size: k of the k x k convolutions, odd.
      hidden_ratio: hidden width over another, which the network names.
      dtype: compute dtype; None computes in that of the input.
      param_dtype: dtype of the parameters.
      precision: of the products, as `jax.lax` takes it.
      output_init: initializer of the last kernels.

    Raises:
      ValueError: if `kernel_size` is even, hidden_ratio is not positive, a dtype is not floating,
        or precision is none of JAX's.
    """

    kernel_size: int = 3
    hidden_ratio: float = 1.0
    dtype: jnp.dtype | None = None
    param_dtype: jnp.dtype = jnp.float32
    precision: Any = "highest"
    output_init: Callable = fan_in_uniform

    @nn.nowrap
    def check(self) -> None:
        """Raise ValueError unless the fields are valid."""
        check_odd("kernel_size", self.kernel_size)
        check_parts(self)

    @nn.nowrap
    def convolution(self, features: int, **options: Any) -> nn.Conv:
        """Return a convolution of these fields, and of other options."""
        fields = {
            "kernel_size": (self.kernel_size, self.kernel_size),
            "padding": "SAME",
            "dtype": self.dtype,
            "param_dtype": self.param_dtype,
            "precision": self.precision,
            "conv_general_dilated": conv_general_dilated,
        }
        return nn.Conv(features, **{**fields, **options})


def check_input(a: Any, condition: Any) -> tuple[jax.Array, jax.Array | None]:
    """Return a map a f[..., h, w, c] and its condition; raise ValueError unless they are such."""
    a = check_array("a", a)
    if a.ndim < 3:
        raise ValueError(f"a 2D flow takes x[..., h, w, c], got shape with {a.ndim} axes")
    return a, check_condition(condition, a.shape[:-1])


class ConvConditioner(ConvNetwork):
    """Convolution k x k, ReLU, convolution k x k, both zero-padded to keep h and w.

    Attributes:
      kernel_size: k, odd.
      hidden_ratio: hidden width over the channels of `a` (rounded, at least 1).
      dtype: compute dtype of the convolutions; None computes in the dtype of `a`.
      param_dtype: dtype of the parameters.
      precision: of the products, as `jax.lax` takes it.
      output_init: initializer of the last kernel; PyTorch's default, as in the public code, learns
        faster than zeros, which make the flow start as a permutation.

    Raises:
      ValueError: if `kernel_size` is even, hidden_ratio is not positive, a dtype is not floating,
        precision is none of JAX's, `a` is not f[..., h, w, c], or the condition's leading axes do
        not broadcast to its.

    Reference: arXiv 2111.07677, section 3.3 and Figure 2 (b).
    """

    @nn.compact
    def __call__(
        self, a: jax.Array, condition: jax.Array | None = None, *, features: int
    ) -> jax.Array:
        """Map a f[..., h, w, c_a] (and condition f[..., h, w, d]) to f[..., h, w, features]."""
        self.check()
        a, condition = check_input(a, condition)
        hidden = hidden_width(self.hidden_ratio, a.shape[-1])
        a = join(a, condition)
        inits = {
            "kernel_init": fan_in_uniform,
            "bias_init": bias_uniform(self.kernel_size**2 * a.shape[-1]),
        }
        x = self.convolution(hidden, **inits, name="input")(a)
        output = self.convolution(features, kernel_init=self.output_init, name="output")
        return output(nn.relu(x))


def conv_conditioner(kernel_sizes: Sequence[int], step: int, **options: Any) -> ConvConditioner:
    """Return the conditioner of a step, counted from 0, whose kernel sizes repeat over the steps.

    Args:
      kernel_sizes: odd.
      step: its number.
      **options: other fields.

    Raises:
      ValueError: if there are no sizes, or one is even.
    """
    check_sequence("kernel_sizes", kernel_sizes, "a sequence of odd integers")
    if not kernel_sizes:
        raise ValueError("kernel_sizes must name at least one size, got none")
    for size in kernel_sizes:
        check_odd("kernel_size", size)
    return ConvConditioner(kernel_sizes[step % len(kernel_sizes)], **options)


class _JointDense(nn.Module):
    """A dense layer of concat(a, condition), computed as the sum of a layer of each.

    A condition that is the same for all images, such as a position code f[h, w, d], is multiplied
    once and not once an image; and no gradient is computed for a condition that needs none.
    """

    features: int
    dtype: jnp.dtype | None
    param_dtype: jnp.dtype
    precision: Any

    @nn.compact
    def __call__(self, a, condition):
        widths = (a.shape[-1], 0 if condition is None else condition.shape[-1])
        shape = (sum(widths), self.features)
        kernel = self.param("kernel", fan_in_uniform, shape, self.param_dtype)
        bias = self.param("bias", bias_uniform(shape[0]), shape[1:], self.param_dtype)
        a, condition, kernel, bias = nn.dtypes.promote_dtype(
            a, condition, kernel, bias, dtype=self.dtype
        )
        of_a, of_condition = jax.lax.split(kernel, widths)
        if condition is not None:
            told = jnp.dot(condition, of_condition, precision=self.precision)
            bias = per_channel(bias, told) + told
        return jnp.dot(a, of_a, precision=self.precision) + per_channel(bias, a)


class DenseConditioner(nn.Module):
    """Dense, ReLU, dense, on the last axis only; or more hidden layers, each followed by a ReLU.

    Attributes:
      hidden_ratio: hidden width over the width of the input, condition included.
      dtype: compute dtype; None computes in the dtype of `a`.
      param_dtype: dtype of the parameters.
      precision: of the products, as `jax.lax` takes it.
      output_init: initializer of the last kernel; PyTorch's default.
      hidden_layers: number of them, all of that width.

    Raises:
      ValueError: if hidden_ratio is not positive, hidden_layers < 1, a dtype is not floating,
        precision is none of JAX's, or the condition's leading axes do not broadcast to those of
        `a`.

    Reference: arXiv 2107.12571, section 4.2 (a decoder's subnet: d -> 2d -> ReLU -> out).
    """

    # What `Coupling.pointwise` asks: every vector by itself.
    pointwise = True

    hidden_ratio: float = 2.0
    dtype: jnp.dtype | None = None
    param_dtype: jnp.dtype = jnp.float32
    precision: Any = "highest"
    output_init: Callable = fan_in_uniform
    hidden_layers: int = 1

    @nn.compact
    def __call__(
        self, a: jax.Array, condition: jax.Array | None = None, *, features: int
    ) -> jax.Array:
        """Map a f[..., c_a] (and condition f[..., d] that broadcasts to it) to f[..., features]."""
        check_parts(self)
        check_count("hidden_layers", self.hidden_layers)
        a = check_array("a", a)
        condition = check_condition(condition, a.shape[:-1])
        width = a.shape[-1] + (0 if condition is None else condition.shape[-1])
        hidden = hidden_width(self.hidden_ratio, width)
        joint = _JointDense(hidden, self.dtype, self.param_dtype, self.precision, name="input")
        x = nn.relu(joint(a, condition))
        fields: dict[str, Any] = {
            "dtype": self.dtype,
            "param_dtype": self.param_dtype,
            "precision": self.precision,
        }
        inits: dict[str, Any] = {"kernel_init": fan_in_uniform, "bias_init": bias_uniform(hidden)}
        for i in range(1, self.hidden_layers):
            x = nn.relu(nn.Dense(hidden, **inits, **fields, name=f"hidden_{i}")(x))
        return nn.Dense(features, kernel_init=self.output_init, **fields, name="output")(x)
