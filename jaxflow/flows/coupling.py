"""The coupling step: half of the channels is transformed given the other half."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxflow.flows.affine import GlobalAffine
from jaxflow.flows.arguments import (
    check_array,
    check_callable,
    check_choice,
    check_dtype,
    check_positive,
    widen,
)
from jaxflow.flows.permutation import PERMUTATIONS


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


class CouplingStep(nn.Module):
    """One step of a flow: coupling, global affine, fixed permutation.

    With x split into a (the first c - c // 2 channels) and b (the rest):
      s, t = conditioner(a [, condition]);  b' = b * exp(log_scale(s)) + 0.1 t;
      z = permute(global_affine(concat(a, b'))).
      log_det = sum_c log_scale(s) + sum_c log(global scale), at every position.
      inverse: the same in reverse; a is known, so s and t are too.

    Attributes:
      conditioner: makes the module called as `module(a, condition, features=n)`.
      clamp: bound of |log_scale|, positive.
      coupling: "affine", or "additive" (log_scale is 0: a uniformly scaling flow).
      log_scale: "tanh" or "unit_slope_tanh", a key of LOG_SCALES.
      permutation: "hard" or "soft", a key of PERMUTATIONS.
      param_dtype: dtype of the global affine's parameters and of a soft permutation.

    Raises:
      ValueError: if a choice is unknown, clamp is not positive, x is not floating, or c < 2.

    Reference: arXiv 2111.07677, Eq. 5 and 6; arXiv 2510.09452 for the additive form.
    """

    conditioner: Callable[[], nn.Module]
    clamp: float = 2.0
    coupling: str = "affine"
    log_scale: str = "tanh"
    permutation: str = "hard"
    param_dtype: jnp.dtype = jnp.float32

    def setup(self):
        """Check the choices and make the parts."""
        check_choice("coupling", self.coupling, COUPLINGS)
        check_choice("log_scale", self.log_scale, LOG_SCALES)
        check_choice("permutation", self.permutation, PERMUTATIONS)
        check_callable("conditioner", self.conditioner, "a function that makes a module")
        check_positive("clamp", self.clamp)
        check_dtype("param_dtype", self.param_dtype)
        self.subnet = self.conditioner()
        self.affine = GlobalAffine(param_dtype=self.param_dtype)
        kwargs = {"param_dtype": self.param_dtype} if self.permutation == "soft" else {}
        self.shuffle = PERMUTATIONS[self.permutation](**kwargs)

    def __call__(self, x: jax.Array, condition: jax.Array | None = None) -> jax.Array:
        """Return z alone; see `forward_and_log_det`."""
        return self.forward_and_log_det(x, condition)[0]

    def forward_and_log_det(
        self, x: jax.Array, condition: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Map x f[..., c] to z f[..., c] and log_det f[...], nats."""
        a, b = _split(check_array("x", x))
        log_scale, shift = self._log_scale_and_shift(a, b.shape[-1], condition)
        if log_scale is not None:
            b = b * jnp.exp(log_scale)
        z, affine_log_det = self.affine.forward_and_log_det(jnp.concatenate([a, b + shift], -1))
        return self.shuffle.forward(z), _log_det(log_scale, a) + affine_log_det

    def inverse_and_log_det(
        self, z: jax.Array, condition: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Map z f[..., c] to x f[..., c] and the log_det f[...] of the inverse, nats."""
        z = widen(check_array("z", z))
        y, affine_log_det = self.affine.inverse_and_log_det(self.shuffle.inverse(z))
        a, b = _split(y)
        log_scale, shift = self._log_scale_and_shift(a, b.shape[-1], condition)
        b = b - shift
        if log_scale is not None:
            b = b * jnp.exp(-log_scale)
        return jnp.concatenate([a, b], -1), affine_log_det - _log_det(log_scale, a)

    def _log_scale_and_shift(self, a, channels, condition):
        if self.coupling == "additive":
            return None, 0.1 * self.subnet(a, condition, features=channels).astype(a.dtype)
        out = self.subnet(a, condition, features=2 * channels).astype(a.dtype)
        log_scale, shift = jnp.split(out, 2, axis=-1)
        return LOG_SCALES[self.log_scale](log_scale, self.clamp), 0.1 * shift


def _split(x):
    """Split the channels in two, in at least float32, whatever the conditioner computes in."""
    channels = x.shape[-1]
    if channels < 2:
        raise ValueError(f"channels must be at least 2, got {channels}")
    return jnp.split(widen(x), [channels - channels // 2], axis=-1)


def _log_det(log_scale, a):
    return jnp.zeros(a.shape[:-1], a.dtype) if log_scale is None else log_scale.sum(-1)
