"""MobileNetV3-Large, batch norm folded (arXiv 1905.02244; timm's mobilenetv3.py)."""

import functools

import flax.linen as nn

from jaxflow.encoders.inverted_residual import BlockShape, InvertedResidualNet

_S = BlockShape
# Table 1 of the paper by stage, 1 to 6. Stage 7 is a single 1x1 convolution.
LARGE: tuple[tuple[BlockShape, ...], ...] = (
    (_S(3, 16, 16, 0, nn.relu, 1),),
    (_S(3, 64, 24, 0, nn.relu, 2), _S(3, 72, 24, 0, nn.relu, 1)),
    (
        _S(5, 72, 40, 24, nn.relu, 2),
        _S(5, 120, 40, 32, nn.relu, 1),
        _S(5, 120, 40, 32, nn.relu, 1),
    ),
    (
        _S(3, 240, 80, 0, nn.hard_swish, 2),
        _S(3, 200, 80, 0, nn.hard_swish, 1),
        _S(3, 184, 80, 0, nn.hard_swish, 1),
        _S(3, 184, 80, 0, nn.hard_swish, 1),
    ),
    (_S(3, 480, 112, 120, nn.hard_swish, 1), _S(3, 672, 112, 168, nn.hard_swish, 1)),
    (
        _S(5, 672, 160, 168, nn.hard_swish, 2),
        _S(5, 960, 160, 240, nn.hard_swish, 1),
        _S(5, 960, 160, 240, nn.hard_swish, 1),
    ),
)

# CFLOW-AD reads the groups of 40, 112 and 160 channels: stages 3, 5 and 6. (Its code taps their
# last projection before its batch norm and shortcut; here a map is the group's output.)
MobileNetV3 = functools.partial(InvertedResidualNet, groups=LARGE, stem=16, last=960)
