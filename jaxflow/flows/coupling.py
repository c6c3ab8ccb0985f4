"""The coupling: half of the channels is transformed given the other half."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxflow.flows.arguments import (
    check_array,
    check_choice,
    check_positive,
    per_position,
    widen,
)
from jaxflow.flows.bijection import Bijection


def tanh_log_scale(s: jax.Array, clamp: float) -> jax.Array:
    """Return `clamp * tanh(0.1 s)`, the form that FastFlow's and CFLOW's public code trains with.

    Source: FrEIA before August 2023 and FrEIA 0.2.
    """
    return clamp * jnp.tanh(0.1 * s)


def unit_slope_log_scale(s: jax.Array, clamp: float) -> jax.Array:
    """Return `clamp * tanh(0.1 s / clamp)`, whose slope at 0 does not grow with the clamp.

    Source: FrEIA since August 2023.
    """
    return clamp * jnp.tanh(0.1 * s / clamp)


LOG_SCALES = {"tanh": tanh_log_scale, "unit_slope_tanh": unit_slope_log_scale}
COUPLINGS = ("affine", "additive")


class Coupling(Bijection):
    """Transform one half of the channels, given the other half.

    With x split into a (the first c - c // 2 channels) and b (the rest), and
    s, t = conditioner(a [, condition]):

      forward: `z = concat(a, b * exp(log_scale(s)) + 0.1 t)`;
      log_det: `sum_c log_scale(s)` at every position;
      inverse: the same in reverse: a is known, so s and t are too.

    Attributes:
      conditioner: a Flax module called as `module(a, condition, features=n)`; the coupling has its
        own copy of it, and its variables are the coupling's.
      clamp: bound of |log_scale|, positive.
      coupling: "affine", or "additive": no s, and log_scale is 0.
      log_scale: "tanh" or "unit_slope_tanh", a key of LOG_SCALES.

    Raises:
      ValueError: if the conditioner is no module, a choice is unknown, clamp is not positive, x is
        not floating, or c < 2.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxflow.flows import DenseConditioner
      >>> coupling, x = Coupling(DenseConditioner()), jnp.ones((3, 6))
      >>> variables = coupling.init(jax.random.key(0), x)
      >>> z, log_det = coupling.apply(variables, x, method="forward_and_log_det")
      >>> z.shape, log_det.shape
      ((3, 6), (3,))

    Reference: arXiv 2111.07677, Eq. 5 and 6; arXiv 2510.09452 for the additive form.
    """

    conditioner: nn.Module
    clamp: float = 2.0
    coupling: str = "affine"
    log_scale: str = "tanh"

    def setup(self):
        """Check the choices, and make the conditioner's variables the coupling's."""
        check_choice("coupling", self.coupling, COUPLINGS)
        check_choice("log_scale", self.log_scale, LOG_SCALES)
        check_positive("clamp", self.clamp)
        if not isinstance(self.conditioner, nn.Module):
            raise ValueError(f"conditioner must be a Flax module, got {self.conditioner!r}")
        # A copy made here, not the field: under `nn.remat` and the like a field is bound outside.
        self.network = self.conditioner.copy()
        nn.share_scope(self, self.network)

    @property
    def pointwise(self) -> bool:
        """Whether the conditioner says so; one that says nothing is not."""
        return getattr(self.conditioner, "pointwise", False)

    def forward_and_log_det(
        self, x: jax.Array, condition: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Map x f[..., c] to z f[..., c] and log_det f[...], nats."""
        a, b = _split(check_array("x", x))
        log_scale, shift = self._log_scale_and_shift(a, b.shape[-1], condition)
        if log_scale is None:
            return jnp.concatenate([a, b + shift], -1), per_position(0.0, a)
        return jnp.concatenate([a, b * jnp.exp(log_scale) + shift], -1), log_scale.sum(-1)

    def inverse_and_log_det(
        self, z: jax.Array, condition: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Map z f[..., c] to x f[..., c] and the log_det f[...] of the inverse, nats."""
        a, b = _split(check_array("z", z))
        log_scale, shift = self._log_scale_and_shift(a, b.shape[-1], condition)
        if log_scale is None:
            return jnp.concatenate([a, b - shift], -1), per_position(0.0, a)
        return jnp.concatenate([a, (b - shift) * jnp.exp(-log_scale)], -1), -log_scale.sum(-1)

    def _log_scale_and_shift(self, a, channels, condition):
        if self.coupling == "additive":
            return None, 0.1 * self.network(a, condition, features=channels).astype(a.dtype)
        out = self.network(a, condition, features=2 * channels).astype(a.dtype)
        log_scale, shift = jnp.split(out, 2, axis=-1)
        return LOG_SCALES[self.log_scale](log_scale, self.clamp), 0.1 * shift


def _split(x):
    """Split the channels in two, in at least float32, whatever the conditioner computes in."""
    channels = x.shape[-1]
    if channels < 2:
        raise ValueError(f"channels must be at least 2, got {channels}")
    return jnp.split(widen(x), [channels - channels // 2], axis=-1)
