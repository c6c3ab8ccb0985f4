"""Networks of inverted residual blocks, batch norm folded: MobileNetV3 and EfficientNet."""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxflow.encoders.layout import Conv, Layout
from jaxflow.encoders.module import FeatureModule
from jaxflow.encoders.resnet import conv

Activation = Callable[[jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True)
class BlockShape:
    """One inverted residual block.

    Attributes:
      kernel: side of the depthwise convolution.
      expand: width of the depthwise convolution.
      out: width of the block's output.
      squeeze: width of the squeeze-and-excite bottleneck; 0: none.
      activation: after the expansion and the depthwise convolution.
      stride: of the depthwise convolution.
    """

    kernel: int
    expand: int
    out: int
    squeeze: int
    activation: Activation
    stride: int


class SqueezeExcite(nn.Module):
    """Scale each channel by a gate computed from the mean over positions."""

    squeeze: int
    activation: Activation = nn.relu
    gate: Activation = nn.hard_sigmoid
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return f[b, h, w, c]."""
        gate = x.mean((1, 2), keepdims=True)
        gate = self.activation(conv(self.squeeze, 1, 1, self.dtype, "conv_reduce")(gate))
        gate = conv(x.shape[-1], 1, 1, self.dtype, "conv_expand")(gate)
        return x * self.gate(gate)


class Depthwise(nn.Module):
    """Depthwise convolution: y[p] = bias + sum_o kernel[o] * x[stride * p + o - before].

    `before` is the padding before the image; see `conv` for `same`. Written as that sum, which XLA
    fuses into one loop: on the CPU its grouped convolution is 5 to 50 times slower.
    """

    size: int
    stride: int
    same: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return f[b, ceil(h / stride), ceil(w / stride), c]."""
        channels = x.shape[-1]
        init = nn.initializers.lecun_normal()
        kernel = self.param("kernel", init, (self.size, self.size, 1, channels))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        kernel, y = kernel.astype(self.dtype), bias.astype(self.dtype)
        # The last position that a kernel offset reads, relative to that offset.
        bottom, right = ((side - 1) // self.stride * self.stride for side in x.shape[1:3])
        x = jnp.pad(x, ((0, 0), *map(self._padding, x.shape[1:3]), (0, 0)))
        for i in range(self.size):
            for j in range(self.size):
                rows = slice(i, i + bottom + 1, self.stride)
                columns = slice(j, j + right + 1, self.stride)
                y = y + x[:, rows, columns] * kernel[i, j, 0]
        return y

    def _padding(self, side: int) -> tuple[int, int]:
        """Return how many zeros are before and after a side."""
        if not self.same:
            return self.size // 2, self.size // 2
        last = (side - 1) // self.stride * self.stride
        total = max(0, last + self.size - side)
        return total // 2, total - total // 2


class InvertedResidual(nn.Module):
    """1x1 expansion (unless it would not widen), depthwise convolution, gate, 1x1 projection.

    Attributes:
      shape: of the block.
      squeeze_activation: inside squeeze-and-excite.
      gate: of squeeze-and-excite.
      same: see `conv`.
      dtype: of the computation.
    """

    shape: BlockShape
    squeeze_activation: Activation = nn.relu
    gate: Activation = nn.hard_sigmoid
    same: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the block's output, f[b, h / stride, w / stride, out]."""
        s = self.shape
        y = x
        if s.expand != x.shape[-1]:
            y = s.activation(conv(s.expand, 1, 1, self.dtype, "expand")(y))
        depthwise = Depthwise(s.kernel, s.stride, self.same, self.dtype, name="depthwise")
        y = s.activation(depthwise(y))
        if s.squeeze:
            y = SqueezeExcite(s.squeeze, self.squeeze_activation, self.gate, self.dtype, name="se")(
                y
            )
        y = conv(s.out, 1, 1, self.dtype, "project")(y)
        return x + y if x.shape == y.shape else y


class InvertedResidualNet(FeatureModule):
    """Give the outputs of the groups of blocks of equal width, numbered from 1.

    Attributes:
      groups: the blocks of each.
      stem: width of the first convolution.
      last: width of the 1x1 convolution that is one stage more; 0: there is none.
      activation: after those two.
      squeeze_activation: see `InvertedResidual`.
      gate: see `InvertedResidual`.
      same: see `conv`.
      epsilon: of the batch norms that are folded.
    """

    groups: tuple[tuple[BlockShape, ...], ...] = ()
    stem: int = 16
    last: int = 0
    activation: Activation = nn.hard_swish
    squeeze_activation: Activation = nn.relu
    gate: Activation = nn.hard_sigmoid
    same: bool = False
    epsilon: float = 1e-5

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of each map."""
        widths = (*(group[-1].out for group in self.groups), self.last)
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
        layout: Layout = {("stem",): Conv("conv_stem", "bn1", eps=self.epsilon)}
        width = self.stem
        for g, group in enumerate(self.groups[: max(self.stages)]):
            for i, shape in enumerate(group):
                widens = shape.expand != width
                block = _block_layout(f"blocks.{g}.{i}", shape, widens, self.epsilon)
                layout |= {(f"block{g + 1}_{i}", *path): s for path, s in block.items()}
                width = shape.out
        if self._reads_last:
            block_name = f"blocks.{len(self.groups)}.0"
            layout["last",] = Conv(f"{block_name}.conv", f"{block_name}.bn1", eps=self.epsilon)
        return layout

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, ...]:
        """Return the maps of standardized images, f[b, h, w, 3]."""
        x = self.activation(conv(self.stem, 3, 2, self.dtype, "stem", self.same)(x))
        styled = (self.squeeze_activation, self.gate, self.same, self.dtype)
        maps = []
        for stage, group in enumerate(self.groups[: max(self.stages)], start=1):
            for i, shape in enumerate(group):
                x = InvertedResidual(shape, *styled, name=f"block{stage}_{i}")(x)
            if stage in self.stages:
                maps.append(x)
        if self._reads_last:
            maps.append(self.activation(conv(self.last, 1, 1, self.dtype, "last")(x)))
        return tuple(maps)

    @property
    def _reads_last(self) -> bool:
        return max(self.stages) > len(self.groups)


def _block_layout(
    prefix: str, shape: BlockShape, widens: bool, epsilon: float
) -> dict[tuple[str, ...], Conv]:
    """Tell where a block's parameters lie; without expansion, timm calls the projection conv_pw."""
    convs = {"expand": "conv_pw", "depthwise": "conv_dw", "project": "conv_pwl"}
    if not widens:
        convs = {"depthwise": "conv_dw", "project": "conv_pw"}
    layout: dict[tuple[str, ...], Conv] = {
        (ours,): Conv(f"{prefix}.{theirs}", f"{prefix}.bn{number}", eps=epsilon)
        for number, (ours, theirs) in enumerate(convs.items(), start=1)
    }
    if shape.squeeze:
        for name in ("conv_reduce", "conv_expand"):
            layout["se", name] = Conv(f"{prefix}.se.{name}", has_bias=True)
    return layout
