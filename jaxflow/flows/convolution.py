"""A convolution whose weight gradient is fast on CPUs too."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import export, lax

# XLA contracts the images of a weight gradient as if they were channels. A CPU core does 55
# GFLOP/s with 32 images (64 x 64 positions, 32 to 64 channels), 105 with 8 at a time.
_IMAGES_AT_ONCE = 8


def conv_general_dilated(
    x: jax.Array, kernel: jax.Array, *options: Any, **named_options: Any
) -> jax.Array:
    """Compute `jax.lax.conv_general_dilated`, whose arguments and result these are.

    Its derivatives are the same too, forward and backward; on a CPU the weight gradient is summed
    over groups of images, unless their number is 0 or symbolic.

    Args:
      x: f[b, h, w, c], batch first.
      kernel: f[k_h, k_w, c, d].
      *options: of `jax.lax.conv_general_dilated`.
      **named_options: of the same.

    Returns:
      f[b, h', w', d].
    """

    def plain(x, kernel):
        return lax.conv_general_dilated(x, kernel, *options, **named_options)

    def in_groups(x, kernel):
        if export.is_symbolic_dim(x.shape[0]) or x.shape[0] == 0:
            return plain(x, kernel)
        groups = range(0, x.shape[0], _IMAGES_AT_ONCE)
        return jnp.concatenate([plain(x[i : i + _IMAGES_AT_ONCE], kernel) for i in groups])

    def tangent(primals, tangents):
        (x, kernel), (dx, dkernel) = primals, tangents
        of_kernel = lax.platform_dependent(x, dkernel, cpu=in_groups, default=plain)
        return convolve(x, kernel), plain(dx, kernel) + of_kernel

    convolve = jax.custom_jvp(plain)
    convolve.defjvp(tangent)
    return convolve(x, kernel)
