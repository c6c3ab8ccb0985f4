"""EfficientNet, batch norm folded (arXiv 1905.11946; timm's efficientnet.py)."""

import math
from typing import Any

import flax.linen as nn

from jaxflow.encoders.inverted_residual import BlockShape, InvertedResidualNet

# B0, Table 1 of the paper: blocks, kernel, stride, expansion, width of each group.
_B0 = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM = 32


def efficientnet(
    *, width: float, depth: float, tensorflow: bool = False, **options: Any
) -> InvertedResidualNet:
    """Make an EfficientNet.

    Args:
      width: factor of B0's channels, which are rounded to multiples of 8.
      depth: factor of B0's blocks in a group, rounded up.
      tensorflow: for weights trained there: padding as its "SAME", another epsilon of the batch
        norms.
      **options: of `InvertedResidualNet`.
    """
    return InvertedResidualNet(
        groups=_scaled(width, depth),
        stem=_round(_STEM * width),
        activation=nn.silu,
        squeeze_activation=nn.silu,
        gate=nn.sigmoid,
        same=tensorflow,
        epsilon=1e-3 if tensorflow else 1e-5,
        **options,
    )


def _scaled(width: float, depth: float) -> tuple[tuple[BlockShape, ...], ...]:
    groups, channels = [], _round(_STEM * width)
    for blocks, kernel, stride, expansion, out in _B0:
        group = []
        for i in range(math.ceil(blocks * depth)):
            expand, squeeze = expansion * channels, channels // 4
            channels = _round(out * width)
            first = stride if i == 0 else 1
            group.append(BlockShape(kernel, expand, channels, squeeze, nn.silu, first))
        groups.append(tuple(group))
    return tuple(groups)


def _round(channels: float) -> int:
    """Round to the nearest multiple of 8, to the next one where that takes over a tenth away."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded
