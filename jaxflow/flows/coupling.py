"""The coupling: half of the channels is transformed given the other half."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxflow.flows.arguments import check_array, widen
from jaxflow.flows.bijection import Bijection
from jaxflow.flows.transform import Transform, make_transform


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
      coupling: "affine"; "additive", where there is no s and log_scale is 0; "gin", where the mean
        over the channels is taken off log_scale, so that log_det is 0; "spline", a
        `RationalQuadraticSpline` in place of scale and shift; "sigmoid", a `SigmoidTransform`; or
        any `Transform`.
      log_scale: "tanh", "unit_slope_tanh", "arctan" or "unclamped", a key of LOG_SCALES.

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

    Reference: arXiv 2111.07677, Eq. 3, 5 and 6; arXiv 2510.09452 for the additive form, arXiv
    2001.04872 for "gin", arXiv 1906.04032 for "spline".
    """

    conditioner: nn.Module
    clamp: float = 2.0
    coupling: str | Transform = "affine"
    log_scale: str = "tanh"

    def setup(self):
        """Check the choices, and make the conditioner's variables the coupling's."""
        self.transform = make_transform(self.coupling, self.clamp, self.log_scale)
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
        a, b = split_channels(check_array("x", x))
        b, log_det = self.transform.forward(b, self._numbers(a, b, condition))
        return jnp.concatenate([a, b], -1), log_det

    def inverse_and_log_det(
        self, z: jax.Array, condition: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Map z f[..., c] to x f[..., c] and the log_det f[...] of the inverse, nats."""
        a, b = split_channels(check_array("z", z))
        b, log_det = self.transform.inverse(b, self._numbers(a, b, condition))
        return jnp.concatenate([a, b], -1), log_det

    def _numbers(self, a, b, condition):
        """Return what the conditioner gives, in the dtype of a, whatever it computes in."""
        features = self.transform.outputs * b.shape[-1]
        return self.network(a, condition, features=features).astype(a.dtype)


def split_channels(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Split x f[..., c] into its first c - c // 2 channels and the rest, in at least float32.

    Raises:
      ValueError: if c < 2.
    """
    channels = x.shape[-1]
    if channels < 2:
        raise ValueError(f"channels must be at least 2, got {channels}")
    a, b = jnp.split(widen(x), [channels - channels // 2], axis=-1)
    return a, b
