"""Flows one after another."""

from collections.abc import Sequence

import jax
from flax import linen as nn

from jaxflow.flows.arguments import check_sequence


class Chain(nn.Module):
    """Compose flows: `z = f_n(... f_1(x))`; log_det is the sum of theirs, per position.

    Attributes:
      links: flows of this package's contract, applied in order.

    Raises:
      ValueError: if there are no links, or one is no flow.
    """

    links: Sequence[nn.Module]

    def __call__(self, x: jax.Array, condition: jax.Array | None = None) -> jax.Array:
        """Return z alone; see `forward_and_log_det`."""
        return self.forward_and_log_det(x, condition)[0]

    def forward_and_log_det(
        self, x: jax.Array, condition: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Map x f[..., c] to z f[..., c] and log_det f[...], nats."""
        links = _checked(self.links)
        x, log_det = links[0].forward_and_log_det(x, condition)
        for link in links[1:]:
            x, step = link.forward_and_log_det(x, condition)
            log_det = log_det + step
        return x, log_det

    def inverse_and_log_det(
        self, z: jax.Array, condition: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Map z f[..., c] to x f[..., c] and the log_det f[...] of the inverse, nats."""
        links = _checked(self.links)
        z, log_det = links[-1].inverse_and_log_det(z, condition)
        for link in links[-2::-1]:
            z, step = link.inverse_and_log_det(z, condition)
            log_det = log_det + step
        return z, log_det


def _checked(links):
    """Return the links of a chain."""
    check_sequence("links", links, "a sequence of flows")
    if not links:
        raise ValueError("a chain needs at least one flow, got none")
    for i, link in enumerate(links):
        if not hasattr(link, "forward_and_log_det"):
            raise ValueError(f"links[{i}] must be a flow, got {type(link).__name__}")
    return links
