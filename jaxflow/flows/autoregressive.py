"""Masked autoregressive flow: every channel is transformed given those before it."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxflow.flows.affine import GlobalAffine
from jaxflow.flows.arguments import (
    check_array,
    check_choice,
    check_condition,
    check_count,
    check_dtype,
    check_precision,
    per_channel,
    widen,
)
from jaxflow.flows.bijection import Bijection, Value
from jaxflow.flows.chain import Chain
from jaxflow.flows.conditioner import bias_uniform, fan_in_uniform, hidden_width
from jaxflow.flows.linear import PERMUTATIONS
from jaxflow.flows.transform import AffineTransform


class _Weights(nn.Module):
    """The kernel and the bias of a dense layer."""

    features: int
    param_dtype: jnp.dtype

    @nn.compact
    def __call__(self, inputs: int) -> tuple[jax.Array, jax.Array]:
        shape = (inputs, self.features)
        kernel = self.param("kernel", fan_in_uniform, shape, self.param_dtype)
        bias = self.param("bias", bias_uniform(inputs), shape[1:], self.param_dtype)
        return widen(kernel), widen(bias)


class MaskedAutoregressive(Bijection):
    """Scale and shift every channel of a vector, given the channels before it.

    With s, t of a network of two dense layers, masked so that s_i and t_i read x_1, ..., x_{i-1}
    and the condition only:

      forward: `z_i = x_i * exp(log_scale(s_i)) + 0.1 t_i`, all channels at once;
      log_det: `sum_i log_scale(s_i)` at every position;
      inverse: channel after channel, c runs of the network; likelihood is fast, sampling is slow.

    Attributes:
      hidden_ratio: hidden width over the channels of x, condition included.
      clamp: bound of |log_scale|, positive.
      log_scale: "tanh", "unit_slope_tanh", "arctan" or "unclamped", a key of LOG_SCALES.
      param_dtype: dtype of the parameters; they are used in at least float32.
      precision: of the products, as `jax.lax` takes it.

    Raises:
      ValueError: if hidden_ratio or clamp is not positive, log_scale is unknown, a dtype is not
        floating, precision is none of JAX's, c < 2, or the condition's leading axes do not
        broadcast to those of x.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> flow, x = MaskedAutoregressive(), jnp.ones((3, 6))
      >>> variables = flow.init(jax.random.key(0), x)
      >>> z, log_det = flow.apply(variables, x, method="forward_and_log_det")
      >>> z.shape, log_det.shape
      ((3, 6), (3,))

    Reference: arXiv 1705.07057, section 3; arXiv 1502.03509 for the masks.
    """

    pointwise = True

    hidden_ratio: float = 2.0
    clamp: float = 2.0
    log_scale: str = "tanh"
    param_dtype: jnp.dtype = jnp.float32
    precision: Any = "highest"

    def forward_and_log_det(
        self, x: jax.Array, condition: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Map x f[..., c], given condition f[..., d] or None, to z f[..., c] and log_det f[...]."""
        x, network, transform = self._parts("x", x, condition)
        return transform.forward(x, network(x))

    def inverse_and_log_det(
        self, z: jax.Array, condition: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Map z f[..., c] to x f[..., c] and the inverse's log_det f[...], nats."""
        z, network, transform = self._parts("z", z, condition)

        # Channel i is right once those before it are; all after it are still 0.
        def add_channel(x, i):
            candidate, _ = transform.inverse(z, network(x))
            return jnp.where(per_channel(jnp.arange(z.shape[-1]) == i, z), candidate, x), None

        x, _ = jax.lax.scan(add_channel, jnp.zeros_like(z), jnp.arange(z.shape[-1]))
        return x, transform.inverse(z, network(x))[1]

    @nn.compact
    def _parts(self, name: str, x: jax.Array, condition: jax.Array | None) -> tuple[Any, Any, Any]:
        """Return x, the network from x to its 2 c numbers, and what these do."""
        transform = AffineTransform(self.clamp, self.log_scale)
        check_dtype("param_dtype", self.param_dtype)
        check_precision("precision", self.precision)
        x = widen(check_array(name, x))
        condition = check_condition(condition, x.shape[:-1])
        channels = x.shape[-1]
        if channels < 2:
            raise ValueError(f"channels must be at least 2, got {channels}")
        inputs = channels + (0 if condition is None else condition.shape[-1])
        hidden = hidden_width(self.hidden_ratio, inputs)
        kernel, offset = _Weights(hidden, self.param_dtype, name="input")(inputs)
        last, bias = _Weights(2 * channels, self.param_dtype, name="output")(hidden)
        dot = functools.partial(jnp.dot, precision=self.precision)
        if condition is not None:
            told = dot(widen(condition), kernel[channels:])
            offset = per_channel(offset, told) + told
        before, after = _masks(channels, hidden, condition is not None)
        first, last = kernel[:channels] * before, last * after

        def network(x):
            h = dot(x, first)
            h = nn.relu(h + per_channel(offset, h))
            return (dot(h, last) + per_channel(bias, h)).astype(x.dtype)

        x = x.astype(jnp.promote_types(x.dtype, first.dtype))
        return x, network, transform


class AutoregressiveFlow(Bijection, kw_only=True):
    """Steps of a masked autoregressive map, an affine map and a permutation, over vectors.

    forward: `z = f_steps(... f_1(x))`, each f_i a `Chain` of a `MaskedAutoregressive`, a
      `GlobalAffine` and a permutation: FrEIA's step with another map than a coupling;
    log_det: f[...], the sum over the steps; inverse: steps times c runs of a network.

    Attributes:
      steps: number of them.
      hidden_ratio: hidden width over the channels of x, condition included.
      clamp: bound of |log_scale|.
      log_scale: see `MaskedAutoregressive`.
      permutation: "hard", "soft" or "linear", see `CouplingFlow`.
      param_dtype: dtype of the parameters.
      precision: of every product, as `jax.lax` takes it.

    Raises:
      ValueError: as `MaskedAutoregressive`, and if steps < 1 or permutation is unknown.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> flow, x = AutoregressiveFlow(steps=1), jnp.ones((3, 6))
      >>> variables = flow.init(jax.random.key(0), x)
      >>> z, log_det = flow.apply(variables, x, method="forward_and_log_det")
      >>> z.shape, log_det.shape
      ((3, 6), (3,))

    Reference: arXiv 1705.07057, section 3.
    """

    pointwise = True

    steps: int = 8
    hidden_ratio: float = 2.0
    clamp: float = 2.0
    log_scale: str = "tanh"
    permutation: str = "hard"
    param_dtype: jnp.dtype = jnp.float32
    precision: Any = "highest"

    def setup(self):
        """Make the chain of steps."""
        check_count("steps", self.steps)
        check_choice("permutation", self.permutation, PERMUTATIONS)
        own: dict[str, Any] = {"param_dtype": self.param_dtype, "parent": None}
        products = {**own, "precision": self.precision}
        links: list[Bijection] = []
        for _ in range(self.steps):
            links += [
                MaskedAutoregressive(self.hidden_ratio, self.clamp, self.log_scale, **products),
                GlobalAffine(**own),
                PERMUTATIONS[self.permutation](**products),
            ]
        self.chain = Chain(links)

    def forward_and_log_det(self, x: Value, condition: Value = None) -> tuple[Value, Value]:
        """Map x f[..., c], given condition f[..., d], to z f[..., c] and log_det f[...], nats."""
        return self.chain.forward_and_log_det(x, condition)

    def inverse_and_log_det(self, z: Value, condition: Value = None) -> tuple[Value, Value]:
        """Map z f[..., c] to x f[..., c] and the inverse's log_det f[...], nats."""
        return self.chain.inverse_and_log_det(z, condition)


def _masks(channels, hidden, conditional):
    """Return which inputs a hidden unit reads [c, hidden], and which outputs read it [hidden, 2 c].

    A hidden unit of degree m reads the first m channels; the outputs of channel i (from 0) read the
    units of degree up to i. Degree 0 reads the condition only, and is left out without one.
    """
    least = 0 if conditional else 1
    degrees = least + np.arange(hidden) * (channels - least) // hidden
    channel = np.arange(channels)
    before = channel[:, None] < degrees[None]
    after = degrees[:, None] <= channel[None]
    return before.astype(np.float32), np.tile(after, 2).astype(np.float32)
