"""The standard-normal likelihood of latents, position by position."""

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxflow.flows.arguments import widen


def position_log_prob(z: jax.Array, log_det: jax.Array | float) -> jax.Array:
    """Return the exact log-likelihood at every position.

    `log p = log_det - 0.5 sum_c z^2 - (c / 2) log 2 pi`; its sum over h and w is the
    log-likelihood of the whole map.

    Args:
      z: f[..., c], latents of a flow.
      log_det: f[...], the flow's log_det at each position, nats.

    Returns:
      f[...], nats, in at least float32.

    Reference: arXiv 2111.07677, Eq. 2.
    """
    z = widen(z)
    return log_det - 0.5 * jnp.square(z).sum(-1) - 0.5 * z.shape[-1] * math.log(2.0 * math.pi)


@dataclasses.dataclass(frozen=True)
class StandardNormal:
    """The usual base of a flow: every channel of a latent is N(0, 1), independent of all others."""

    def log_prob(self, z: jax.Array) -> jax.Array:
        """Return `-0.5 sum_c z^2 - (c / 2) log 2 pi` f[...] of z f[..., c], nats."""
        return position_log_prob(z, 0.0)

    def sample(self, key: jax.Array, shape: Sequence[int]) -> jax.Array:
        """Draw z f[*shape], of JAX's default floating dtype."""
        return jax.random.normal(key, shape)
