"""The standard-normal likelihood of latents, position by position."""

import math

import jax
import jax.numpy as jnp


def position_log_prob(z: jax.Array, log_det: jax.Array) -> jax.Array:
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
    z = z.astype(jnp.promote_types(z.dtype, jnp.float32))
    return log_det - 0.5 * jnp.square(z).sum(-1) - 0.5 * z.shape[-1] * math.log(2.0 * math.pi)
