"""Flows one after another."""

from collections.abc import Sequence

import jax
from flax import linen as nn


class Chain(nn.Module):
    """Compose flows: `z = f_n(... f_1(x))`; log_det is the sum of theirs, per position.

    Attributes:
      links: flows of this package's contract, applied in order.

    Raises:
      ValueError: if there are no links.
    """

    links: Sequence[nn.Module]

    def __call__(self, x: jax.Array, condition: jax.Array | None = None) -> jax.Array:
        """Return z alone; see `forward_and_log_det`."""
        return self.forward_and_log_det(x, condition)[0]

    def forward_and_log_det(
        self, x: jax.Array, condition: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Map x f[..., c] to z f[..., c] and log_det f[...], nats."""
        self._check()
        x, log_det = self.links[0].forward_and_log_det(x, condition)
        for link in self.links[1:]:
            x, step = link.forward_and_log_det(x, condition)
            log_det = log_det + step
        return x, log_det

    def inverse_and_log_det(
        self, z: jax.Array, condition: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Map z f[..., c] to x f[..., c] and the log_det f[...] of the inverse, nats."""
        self._check()
        z, log_det = self.links[-1].inverse_and_log_det(z, condition)
        for link in self.links[-2::-1]:
            z, step = link.inverse_and_log_det(z, condition)
            log_det = log_det + step
        return z, log_det

    def _check(self):
        if not self.links:
            raise ValueError("a chain needs at least one flow, got none")
