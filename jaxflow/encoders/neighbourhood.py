"""Features aggregated over a neighbourhood, as PatchCore does."""

import flax.linen as nn
import jax


def average_neighbourhood(features: jax.Array, side: int) -> jax.Array:
    """Average a map over the square around each position.

    At the edge the mean is over the positions that exist, so that a constant map stays constant.

    Args:
      features: f[b, h, w, c].
      side: of the square, positions, odd; 1: nothing is done.

    Returns:
      f[b, h, w, c].

    Reference: PatchCore, arXiv 2106.08265, section 3.1.
    """
    if side == 1:
        return features
    return nn.avg_pool(features, (side, side), padding="SAME", count_include_pad=False)
