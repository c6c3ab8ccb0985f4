"""What a coupling does to a channel, given the conditioner's numbers: the named choices."""

import dataclasses
import inspect
import math
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from jaxflow.flows.arguments import check_choice, check_positive, per_position
from jaxflow.flows.spline import RationalQuadraticSpline


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


def arctan_log_scale(s: jax.Array, clamp: float) -> jax.Array:
    """Return `0.636 clamp * arctan(s / clamp)`.

    Source: FrEIA's Glow coupling, and with it the public code of CS-Flow and MSFlow's fusion.
    """
    return 0.636 * clamp * jnp.arctan(s / clamp)


def unclamped_log_scale(s: jax.Array, clamp: float) -> jax.Array:
    """Return s as it is, whatever the clamp.

    Source: arXiv 2111.07677, Eq. 3.
    """
    del clamp
    return s


LOG_SCALES = {
    "tanh": tanh_log_scale,
    "unit_slope_tanh": unit_slope_log_scale,
    "arctan": arctan_log_scale,
    "unclamped": unclamped_log_scale,
}


@runtime_checkable
class Transform(Protocol):
    """An invertible map of vectors b f[..., c], given `outputs * c` numbers at each position."""

    @property
    def outputs(self) -> int:
        """How many numbers the conditioner gives for each channel."""

    def forward(self, b: jax.Array, numbers: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Map b f[..., c], given numbers f[..., outputs * c], to f[..., c] and log_det f[...]."""

    def inverse(self, b: jax.Array, numbers: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Map b back, and return the log_det f[...] of the inverse."""


@dataclasses.dataclass(frozen=True)
class AffineTransform:
    """Scale and shift: `b * exp(log_scale(s)) + shift t`, of numbers s, t f[..., c].

    Attributes:
      clamp: bound of |log_scale|, positive.
      log_scale: a key of LOG_SCALES.
      shift: factor of t.
    """

    clamp: float = 2.0
    log_scale: str = "tanh"
    shift: float = 0.1
    outputs = 2

    def __post_init__(self):
        check_choice("log_scale", self.log_scale, LOG_SCALES)
        check_positive("clamp", self.clamp)
        check_positive("shift", self.shift)

    def log_scale_and_shift(self, numbers: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return log_scale and shift f[..., c] of numbers f[..., 2 c]."""
        s, t = jnp.split(numbers, 2, axis=-1)
        return LOG_SCALES[self.log_scale](s, self.clamp), self.shift * t

    def forward(self, b: jax.Array, numbers: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Map b f[..., c], given numbers f[..., 2 c], to f[..., c] and log_det f[...]."""
        log_scale, shift = self.log_scale_and_shift(numbers)
        return b * jnp.exp(log_scale) + shift, self._log_det(log_scale)

    def inverse(self, b: jax.Array, numbers: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Map b back, and return the log_det f[...] of the inverse."""
        log_scale, shift = self.log_scale_and_shift(numbers)
        return (b - shift) * jnp.exp(-log_scale), -self._log_det(log_scale)

    def _log_det(self, log_scale):
        return log_scale.sum(-1)


class VolumePreservingTransform(AffineTransform):
    """Scale and shift with log_det 0: the mean over the channels is taken off the log-scales.

    A coupling of 2 or 3 channels transforms only one, which is then only shifted.

    Reference: arXiv 2001.04872, section 3.2.
    """

    def log_scale_and_shift(self, numbers: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return log_scale, of mean 0 over c, and shift f[..., c] of numbers f[..., 2 c]."""
        log_scale, shift = super().log_scale_and_shift(numbers)
        return log_scale - log_scale.mean(-1, keepdims=True), shift

    def _log_det(self, log_scale):
        return per_position(0.0, log_scale)


@dataclasses.dataclass(frozen=True)
class AdditiveTransform:
    """Shift: `b + 0.1 t`, of numbers t f[..., c]; log_det is 0."""

    outputs = 1

    def forward(self, b: jax.Array, numbers: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Map b f[..., c], given numbers f[..., c], to f[..., c] and zeros f[...]."""
        return b + 0.1 * numbers, per_position(0.0, b)

    def inverse(self, b: jax.Array, numbers: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Map b back, and return zeros f[...]."""
        return b - 0.1 * numbers, per_position(0.0, b)


@dataclasses.dataclass(frozen=True)
class SigmoidTransform:
    """Shift, then scale: `(b + t) * limit sigmoid(s)`, of numbers t, s f[..., c].

    Attributes:
      limit: of the scale, positive; with 2, numbers of 0 change nothing.

    Reference: arXiv 2412.15129, section 3.
    """

    limit: float = 2.0
    outputs = 2

    def __post_init__(self):
        check_positive("limit", self.limit)

    def forward(self, b: jax.Array, numbers: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Map b f[..., c], given numbers f[..., 2 c], to f[..., c] and log_det f[...]."""
        t, log_scale = self._shift_and_log_scale(numbers)
        return (b + t) * jnp.exp(log_scale), log_scale.sum(-1)

    def inverse(self, b: jax.Array, numbers: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Map b back, and return the log_det f[...] of the inverse."""
        t, log_scale = self._shift_and_log_scale(numbers)
        return b * jnp.exp(-log_scale) - t, -log_scale.sum(-1)

    def _shift_and_log_scale(self, numbers):
        t, s = jnp.split(numbers, 2, axis=-1)
        return t, jax.nn.log_sigmoid(s) + math.log(self.limit)


# Name -> maker of the transform; it takes a coupling's clamp and log_scale if it has such fields.
COUPLINGS: dict[str, Callable[..., Transform]] = {
    "affine": AffineTransform,
    "additive": AdditiveTransform,
    "gin": VolumePreservingTransform,
    "spline": RationalQuadraticSpline,
    "sigmoid": SigmoidTransform,
}


def make_transform(
    coupling: str | Transform, clamp: float, log_scale: str, **options: float
) -> Transform:
    """Return the transform that a coupling's fields describe.

    Args:
      coupling: a key of COUPLINGS, or a transform, which is returned.
      clamp: bound of |log_scale|, positive; for "affine" and "gin".
      log_scale: a key of LOG_SCALES; for the same.
      **options: other fields of the transform that a key names, such as bins of "spline".

    Raises:
      ValueError: if a choice is unknown, or clamp is not positive.
    """
    check_choice("log_scale", log_scale, LOG_SCALES)
    check_positive("clamp", clamp)
    if isinstance(coupling, type) or not isinstance(coupling, Transform):
        check_choice("coupling", coupling, COUPLINGS)
        make = COUPLINGS[str(coupling)]
        taken = inspect.signature(make).parameters
        given = {"clamp": clamp, "log_scale": log_scale}
        return make(**{name: given[name] for name in given if name in taken}, **options)
    return coupling
