"""MobileNetV3-Large, batch norm folded (arXiv 1905.02244; timm's mobilenetv3.py)."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxflow.encoders.layout import Conv, Layout
from jaxflow.encoders.module import FeatureModule
from jaxflow.encoders.resnet import conv


@dataclasses.dataclass(frozen=True)
class BlockShape:
    """One inverted residual block: Table 1 of the paper.

    Attributes:
      kernel: side of the depthwise convolution.
      expand: width of the depthwise convolution.
      out: width of the block's output.
      squeeze: width of the squeeze-and-excite bottleneck; 0: none.
      hard_swish: the activation; else ReLU.
      stride: of the depthwise convolution.
    """

    kernel: int
    expand: int
    out: int
    squeeze: int
    hard_swish: bool
    stride: int


_S = BlockShape
# By stage, 1 to 6. Stage 7 is a single 1x1 convolution.
LARGE: tuple[tuple[BlockShape, ...], ...] = (
    (_S(3, 16, 16, 0, False, 1),),
    (_S(3, 64, 24, 0, False, 2), _S(3, 72, 24, 0, False, 1)),
    (
        _S(5, 72, 40, 24, False, 2),
        _S(5, 120, 40, 32, False, 1),
        _S(5, 120, 40, 32, False, 1),
    ),
    (
        _S(3, 240, 80, 0, True, 2),
        _S(3, 200, 80, 0, True, 1),
        _S(3, 184, 80, 0, True, 1),
        _S(3, 184, 80, 0, True, 1),
    ),
    (_S(3, 480, 112, 120, True, 1), _S(3, 672, 112, 168, True, 1)),
    (
        _S(5, 672, 160, 168, True, 2),
        _S(5, 960, 160, 240, True, 1),
        _S(5, 960, 160, 240, True, 1),
    ),
)
_STEM = 16
_LAST = 960
_LAST_STAGE = 7


class SqueezeExcite(nn.Module):
    """Scale each channel by a gate computed from the mean over positions."""

    squeeze: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return f[b, h, w, c]."""
        gate = x.mean((1, 2), keepdims=True)
        gate = nn.relu(conv(self.squeeze, 1, 1, self.dtype, "conv_reduce")(gate))
        gate = conv(x.shape[-1], 1, 1, self.dtype, "conv_expand")(gate)
        return x * nn.hard_sigmoid(gate)


class Depthwise(nn.Module):
    """Depthwise convolution: y[p] = bias + sum_o kernel[o] * x[stride * p + o - size // 2].

    Written as that sum, which XLA fuses into one loop: on the CPU its grouped convolution is 5 to
    50 times slower.
    """

    size: int
    stride: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return f[b, ceil(h / stride), ceil(w / stride), c]."""
        channels, pad = x.shape[-1], self.size // 2
        init = nn.initializers.lecun_normal()
        kernel = self.param("kernel", init, (self.size, self.size, 1, channels))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        kernel, y = kernel.astype(self.dtype), bias.astype(self.dtype)
        # The last position that a kernel offset reads, relative to that offset.
        bottom, right = ((side - 1) // self.stride * self.stride for side in x.shape[1:3])
        x = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
        for i in range(self.size):
            for j in range(self.size):
                rows = slice(i, i + bottom + 1, self.stride)
                columns = slice(j, j + right + 1, self.stride)
                y = y + x[:, rows, columns] * kernel[i, j, 0]
        return y


class InvertedResidual(nn.Module):
    """1x1 expansion (unless it would not widen), depthwise convolution, gate, 1x1 projection."""

    shape: BlockShape
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the block's output, f[b, h / stride, w / stride, out]."""
        s = self.shape
        act = nn.hard_swish if s.hard_swish else nn.relu
        y = x
        if s.expand != x.shape[-1]:
            y = act(conv(s.expand, 1, 1, self.dtype, "expand")(y))
        y = act(Depthwise(s.kernel, s.stride, self.dtype, name="depthwise")(y))
        if s.squeeze:
            y = SqueezeExcite(s.squeeze, self.dtype, name="se")(y)
        y = conv(s.out, 1, 1, self.dtype, "project")(y)
        return x + y if x.shape == y.shape else y


class MobileNetV3(FeatureModule):
    """Give the outputs of the groups of blocks of equal width, numbered 1 to 7.

    CFLOW-AD reads the groups of 40, 112 and 160 channels: stages 3, 5 and 6. (Its code taps their
    last projection before its batch norm and shortcut; here a map is the group's output.)
    """

    groups: tuple[tuple[BlockShape, ...], ...] = LARGE

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of each map."""
        widths = (*(group[-1].out for group in self.groups), _LAST)
        return tuple(widths[stage - 1] for stage in self.stages)

    @property
    def strides(self) -> tuple[int, ...]:
        """Input pixels along one side of one position of each map."""
        strides, stride = [], 2
        for group in self.groups:
            stride *= group[0].stride
            strides.append(stride)
        strides.append(stride)
        return tuple(strides[stage - 1] for stage in self.stages)

    def layout(self) -> Layout:
        """Tell where each parameter lies in timm's weights file."""
        layout: Layout = {("stem",): Conv("conv_stem", "bn1")}
        width = _STEM
        for g, group in enumerate(self.groups[: max(self.stages)]):
            for i, shape in enumerate(group):
                block = _block_layout(f"blocks.{g}.{i}", shape, widens=shape.expand != width)
                layout |= {(f"block{g + 1}_{i}", *path): s for path, s in block.items()}
                width = shape.out
        if _LAST_STAGE in self.stages:
            layout["last",] = Conv("blocks.6.0.conv", "blocks.6.0.bn1")
        return layout

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, ...]:
        """Return the maps of standardized images, f[b, h, w, 3]."""
        x = nn.hard_swish(conv(_STEM, 3, 2, self.dtype, "stem")(x))
        maps = []
        for stage, group in enumerate(self.groups[: max(self.stages)], start=1):
            for i, shape in enumerate(group):
                x = InvertedResidual(shape, self.dtype, name=f"block{stage}_{i}")(x)
            if stage in self.stages:
                maps.append(x)
        if _LAST_STAGE in self.stages:
            maps.append(nn.hard_swish(conv(_LAST, 1, 1, self.dtype, "last")(x)))
        return tuple(maps)


def _block_layout(prefix: str, shape: BlockShape, widens: bool) -> dict[tuple[str, ...], Conv]:
    """Tell where a block's parameters lie; without expansion, timm calls the projection conv_pw."""
    convs = {"expand": "conv_pw", "depthwise": "conv_dw", "project": "conv_pwl"}
    if not widens:
        convs = {"depthwise": "conv_dw", "project": "conv_pw"}
    layout: dict[tuple[str, ...], Conv] = {
        (ours,): Conv(f"{prefix}.{theirs}", f"{prefix}.bn{number}")
        for number, (ours, theirs) in enumerate(convs.items(), start=1)
    }
    if shape.squeeze:
        for name in ("conv_reduce", "conv_expand"):
            layout["se", name] = Conv(f"{prefix}.se.{name}", has_bias=True)
    return layout
