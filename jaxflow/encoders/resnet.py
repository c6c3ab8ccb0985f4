"""ResNet and Wide ResNet, batch norm folded (arXiv 1512.03385, 1605.07146; timm's resnet.py)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxflow.encoders.layout import Conv, Layout
from jaxflow.encoders.module import FeatureModule


def conv(
    features: int, size: int, stride: int, dtype: Any, name: str, same: bool = False
) -> nn.Conv:
    """Make a convolution padded by size // 2 on every side, as PyTorch's; `same`: as TensorFlow's.

    With a stride TensorFlow pads just what the last window lacks, the odd pixel after the image.
    """
    pad = size // 2
    return nn.Conv(
        features,
        (size, size),
        strides=(stride, stride),
        padding="SAME" if same else ((pad, pad), (pad, pad)),
        dtype=dtype,
        name=name,
    )


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    width: int
    stride: int
    downsample: bool
    width_factor: int = 1
    dtype: Any = jnp.float32

    expansion = 1
    convs = ("conv1", "conv2")

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the block's output, f[b, h / stride, w / stride, width]."""
        y = nn.relu(conv(self.width, 3, self.stride, self.dtype, "conv1")(x))
        y = conv(self.width, 3, 1, self.dtype, "conv2")(y)
        if self.downsample:
            x = conv(self.width, 1, self.stride, self.dtype, "downsample")(x)
        return nn.relu(x + y)


class Bottleneck(nn.Module):
    """1x1, 3x3 (where the stride is) and 1x1 convolutions and a shortcut."""

    width: int
    stride: int
    downsample: bool
    width_factor: int = 1
    dtype: Any = jnp.float32

    expansion = 4
    convs = ("conv1", "conv2", "conv3")

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the block's output, f[b, h / stride, w / stride, 4 * width]."""
        inner, outer = self.width * self.width_factor, self.width * self.expansion
        y = nn.relu(conv(inner, 1, 1, self.dtype, "conv1")(x))
        y = nn.relu(conv(inner, 3, self.stride, self.dtype, "conv2")(y))
        y = conv(outer, 1, 1, self.dtype, "conv3")(y)
        if self.downsample:
            x = conv(outer, 1, self.stride, self.dtype, "downsample")(x)
        return nn.relu(x + y)


class ResNet(FeatureModule):
    """Give the outputs of residual stages, numbered 1 to 4.

    Attributes:
      block: BasicBlock or Bottleneck.
      stage_sizes: blocks in each stage.
      width_factor: width of a bottleneck's 3x3 convolution over ResNet's; 2 in Wide ResNet.
    """

    block: type[BasicBlock] | type[Bottleneck] = BasicBlock
    stage_sizes: tuple[int, ...] = (2, 2, 2, 2)
    width_factor: int = 1

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of each map."""
        return tuple(_width(stage) * self.block.expansion for stage in self.stages)

    @property
    def strides(self) -> tuple[int, ...]:
        """Input pixels along one side of one position of each map."""
        return tuple(2 ** (stage + 1) for stage in self.stages)

    def layout(self) -> Layout:
        """Tell where each parameter lies in a torchvision or timm weights file."""
        layout: Layout = {("conv1",): Conv("conv1", "bn1")}
        for stage, index in self._blocks():
            ours, theirs = f"layer{stage}_{index}", f"layer{stage}.{index}"
            for name in self.block.convs:
                layout[ours, name] = Conv(f"{theirs}.{name}", f"{theirs}.bn{name[-1]}")
            if self._downsamples(stage, index):
                down = f"{theirs}.downsample"
                layout[ours, "downsample"] = Conv(f"{down}.0", f"{down}.1")
        return layout

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, ...]:
        """Return the maps of standardized images, f[b, h, w, 3]."""
        x = nn.relu(conv(_width(1), 7, 2, self.dtype, "conv1")(x))
        x = nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
        maps = []
        for stage, index in self._blocks():
            x = self.block(
                width=_width(stage),
                stride=2 if stage > 1 and index == 0 else 1,
                downsample=self._downsamples(stage, index),
                width_factor=self.width_factor,
                dtype=self.dtype,
                name=f"layer{stage}_{index}",
            )(x)
            if stage in self.stages and index == self.stage_sizes[stage - 1] - 1:
                maps.append(x)
        return tuple(maps)

    def _blocks(self) -> list[tuple[int, int]]:
        last = max(self.stages)
        return [(s, i) for s in range(1, last + 1) for i in range(self.stage_sizes[s - 1])]

    def _downsamples(self, stage: int, index: int) -> bool:
        return index == 0 and (stage > 1 or self.block.expansion > 1)


def _width(stage: int) -> int:
    return 32 * 2**stage
