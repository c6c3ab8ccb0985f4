"""What the transformers share: patches, positions for any grid, blocks under `nn.scan`."""

from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxflow.encoders.layout import Array, Conv, Dense, LayerNorm, Layout, Source, Stacked
from jaxflow.encoders.module import FeatureModule

# What blocks are told of the places of their tokens: None, or cosines and sines (see `dinov3`).
Rotation = Any


class TransformerBlock(nn.Module):
    """Base of the blocks: what a scan calls, and what a block is made of.

    Attributes:
      heads: attention heads.
      dtype: of the computation.
    """

    heads: int
    dtype: Any = jnp.float32

    # Submodules that are linear layers, and layer norms; parameters of the block itself.
    dense: ClassVar[tuple[tuple[str, ...], ...]] = (
        ("attn", "qkv"),
        ("attn", "proj"),
        ("mlp", "fc1"),
        ("mlp", "fc2"),
    )
    norms: ClassVar[tuple[tuple[str, ...], ...]] = (("norm1",), ("norm2",))
    arrays: ClassVar[tuple[tuple[str, ...], ...]] = ()
    # Those of `dense` that have no bias.
    unbiased: ClassVar[tuple[tuple[str, ...], ...]] = ()
    # Of its layer norms, and of the one after the last block.
    epsilon: ClassVar[float] = 1e-6

    def __call__(self, x: jax.Array, rotation: Rotation) -> tuple[jax.Array, None]:
        """Return the new tokens, f[b, n, dim], as the carry of a scan."""
        raise NotImplementedError

    @classmethod
    def rotation(cls, prefix: int, height: int, width: int, head_dim: int) -> Rotation:
        """Give what every block is told of the places of the prefix and of the patches."""
        return None

    @classmethod
    def sources(cls, prefix: str) -> dict[tuple[str, ...], Source]:
        """Tell where the parameters of one block lie; the prefix is timm's, with its last dot."""
        return {
            **{
                path: Dense(prefix + ".".join(path), has_bias=path not in cls.unbiased)
                for path in cls.dense
            },
            **{path: LayerNorm(prefix + ".".join(path)) for path in cls.norms},
            **{path: Array(prefix + ".".join(path)) for path in cls.arrays},
        }


class Mlp(nn.Module):
    """Two linear layers around a GELU; the hidden width is 4 times the input's."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return f[b, n, dim]."""
        dim = x.shape[-1]
        x = nn.Dense(4 * dim, dtype=self.dtype, name="fc1")(x)
        x = nn.gelu(x, approximate=False)
        return nn.Dense(dim, dtype=self.dtype, name="fc2")(x)


def layer_norm(dtype: Any, name: str, epsilon: float = 1e-6) -> nn.LayerNorm:
    """Make a layer norm as timm's: the variance in two passes."""
    return nn.LayerNorm(epsilon=epsilon, use_fast_variance=False, dtype=dtype, name=name)


def split_heads(qkv: jax.Array, heads: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Split f[b, n, 3 * dim] into queries, keys and values, f[b, n, heads, dim / heads] each."""
    batch, tokens, width = qkv.shape
    q, k, v = jnp.moveaxis(qkv.reshape(batch, tokens, 3, heads, width // 3 // heads), 2, 0)
    return q, k, v


class VisionTransformer(FeatureModule):
    """Give the patch tokens after chosen blocks, final norm applied, as maps.

    The blocks between two maps run as one scan over stacked parameters, so that the program does
    not grow with depth; those after the last map do not exist. For inputs of another size than the
    weights were trained at, position embeddings are resampled (bicubic, antialiased) as timm does.

    Attributes:
      block: the kind of block.
      dim: width of the tokens.
      heads: attention heads.
      grid: side of the grid of patches that the position embeddings were trained for; None: there
        are none, the blocks know the positions.
      prefix_tokens: name and number of the tokens before the patches; no map has them.
      prefix_positions: whether each of those has a position embedding, before the patches'.
      patch: side of a patch, pixels.
    """

    block: type[TransformerBlock] = TransformerBlock
    dim: int = 768
    heads: int = 12
    grid: int | None = 24
    prefix_tokens: tuple[tuple[str, int], ...] = ()
    prefix_positions: bool = True
    patch: int = 16

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of each map."""
        return (self.dim,) * len(self.stages)

    @property
    def strides(self) -> tuple[int, ...]:
        """Input pixels along one side of one position of each map."""
        return (self.patch,) * len(self.stages)

    def layout(self) -> Layout:
        """Tell where each parameter lies in timm's weights file."""
        layout: Layout = {
            ("patch_embed",): Conv("patch_embed.proj", has_bias=True),
            ("norm",): LayerNorm("norm"),
            **{(name,): Array(name) for name, _ in self.prefix_tokens},
        }
        if self.grid is not None:
            layout["pos_embed",] = Array("pos_embed")
        for first, last in self._segments():
            members = [self.block.sources(f"blocks.{i}.") for i in range(first, last + 1)]
            for path in members[0]:
                stack = tuple(member[path] for member in members)
                layout[_segment_name(first, last), *path] = Stacked(stack)
        return layout

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, ...]:
        """Return the maps of standardized images, f[b, h, w, 3]."""
        height, width = x.shape[1] // self.patch, x.shape[2] // self.patch
        tokens = self._embed(x, height, width)
        prefix = tokens.shape[1] - height * width
        rotation = self.block.rotation(prefix, height, width, self.dim // self.heads)
        norm = layer_norm(self.dtype, "norm", self.block.epsilon)
        maps = []
        for first, last in self._segments():
            scan = nn.scan(
                self.block,
                variable_axes={"params": 0},
                split_rngs={"params": True},
                in_axes=nn.broadcast,
                length=last - first + 1,
            )
            name = _segment_name(first, last)
            tokens, _ = scan(heads=self.heads, dtype=self.dtype, name=name)(tokens, rotation)
            maps.append(norm(tokens)[:, prefix:].reshape(-1, height, width, self.dim))
        return tuple(maps)

    def _embed(self, x: jax.Array, height: int, width: int) -> jax.Array:
        """Return the tokens of the prefix and of the patches, with their positions added."""
        side = (self.patch, self.patch)
        patches = nn.Conv(
            self.dim, side, strides=side, padding="VALID", dtype=self.dtype, name="patch_embed"
        )(x).reshape(-1, height * width, self.dim)
        init = nn.initializers.normal(0.02)
        prefix = [
            jnp.broadcast_to(self.param(name, init, (1, n, self.dim)), (len(x), n, self.dim))
            for name, n in self.prefix_tokens
        ]
        if self.grid is None:
            return jnp.concatenate([*prefix, patches], axis=1).astype(self.dtype)
        count = sum(n for _, n in self.prefix_tokens)
        embedded = count if self.prefix_positions else 0
        positions = self.param("pos_embed", init, (1, embedded + self.grid**2, self.dim))
        grid = resample_positions(positions[:, embedded:], self.grid, height, width)
        before = jnp.pad(positions[:, :embedded], ((0, 0), (0, count - embedded), (0, 0)))
        tokens = jnp.concatenate([*prefix, patches], axis=1)
        return (tokens + jnp.concatenate([before, grid], axis=1)).astype(self.dtype)

    def _segments(self) -> list[tuple[int, int]]:
        firsts = (0, *(stage + 1 for stage in self.stages))
        return list(zip(firsts, self.stages, strict=False))


def _segment_name(first: int, last: int) -> str:
    return f"blocks_{first}_to_{last}"


def resample_positions(positions: jax.Array, side: int, height: int, width: int) -> jax.Array:
    """Resample position embeddings to another grid, bicubic with antialiasing.

    Args:
      positions: f[1, side * side, dim].
      side: of their grid.
      height: of the new grid.
      width: of the new grid.

    Returns:
      f[1, height * width, dim]; unchanged if the grid is the same.

    Reference: timm's resample_abs_pos_embed; the kernel is Keys' with a = -0.5, as in both
      libraries when antialiasing.
    """
    if (height, width) == (side, side):
        return positions
    dim = positions.shape[-1]
    grid = positions.reshape(1, side, side, dim)
    grid = jax.image.resize(grid, (1, height, width, dim), "bicubic", antialias=True)
    return grid.reshape(1, height * width, dim)
