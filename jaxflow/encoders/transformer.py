"""What DeiT and CaiT share: patches, position embeddings for any grid, blocks under `nn.scan`."""

from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxflow.encoders.layout import Array, Conv, Dense, LayerNorm, Layout, Source, Stacked
from jaxflow.encoders.module import FeatureModule

PATCH = 16


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

    def __call__(self, x: jax.Array, _: None) -> tuple[jax.Array, None]:
        """Return the new tokens, f[b, n, dim], as the carry of a scan."""
        raise NotImplementedError

    @classmethod
    def sources(cls, prefix: str) -> dict[tuple[str, ...], Source]:
        """Tell where the parameters of one block lie; the prefix is timm's, with its last dot."""
        return {
            **{path: Dense(prefix + ".".join(path)) for path in cls.dense},
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


def layer_norm(dtype: Any, name: str) -> nn.LayerNorm:
    """Make a layer norm as timm's: epsilon 1e-6, the variance in two passes."""
    return nn.LayerNorm(epsilon=1e-6, use_fast_variance=False, dtype=dtype, name=name)


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
      grid: side of the grid of patches that the position embeddings were trained for.
      prefix_tokens: names of the tokens before the patches, each with a position of its own.
    """

    block: type[TransformerBlock] = TransformerBlock
    dim: int = 768
    heads: int = 12
    grid: int = 24
    prefix_tokens: tuple[str, ...] = ()

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of each map."""
        return (self.dim,) * len(self.stages)

    @property
    def strides(self) -> tuple[int, ...]:
        """Input pixels along one side of one position of each map."""
        return (PATCH,) * len(self.stages)

    def layout(self) -> Layout:
        """Tell where each parameter lies in timm's weights file."""
        layout: Layout = {
            ("patch_embed",): Conv("patch_embed.proj", has_bias=True),
            ("pos_embed",): Array("pos_embed"),
            ("norm",): LayerNorm("norm"),
            **{(name,): Array(name) for name in self.prefix_tokens},
        }
        for first, last in self._segments():
            members = [self.block.sources(f"blocks.{i}.") for i in range(first, last + 1)]
            for path in members[0]:
                stack = tuple(member[path] for member in members)
                layout[_segment_name(first, last), *path] = Stacked(stack)
        return layout

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, ...]:
        """Return the maps of standardized images, f[b, h, w, 3]."""
        height, width = x.shape[1] // PATCH, x.shape[2] // PATCH
        tokens = self._embed(x, height, width)
        norm = layer_norm(self.dtype, "norm")
        maps = []
        for first, last in self._segments():
            scan = nn.scan(
                self.block,
                variable_axes={"params": 0},
                split_rngs={"params": True},
                length=last - first + 1,
            )
            name = _segment_name(first, last)
            tokens, _ = scan(heads=self.heads, dtype=self.dtype, name=name)(tokens, None)
            patches = norm(tokens)[:, len(self.prefix_tokens) :]
            maps.append(patches.reshape(-1, height, width, self.dim))
        return tuple(maps)

    def _embed(self, x: jax.Array, height: int, width: int) -> jax.Array:
        """Return the tokens of the prefix and of the patches, with their positions added."""
        side = (PATCH, PATCH)
        patches = nn.Conv(
            self.dim, side, strides=side, padding="VALID", dtype=self.dtype, name="patch_embed"
        )(x).reshape(-1, height * width, self.dim)
        init = nn.initializers.normal(0.02)
        prefix = [
            jnp.broadcast_to(self.param(name, init, (1, 1, self.dim)), (len(x), 1, self.dim))
            for name in self.prefix_tokens
        ]
        count = len(prefix)
        positions = self.param("pos_embed", init, (1, count + self.grid**2, self.dim))
        grid = resample_positions(positions[:, count:], self.grid, height, width)
        tokens = jnp.concatenate([*prefix, patches], axis=1)
        return (tokens + jnp.concatenate([positions[:, :count], grid], axis=1)).astype(self.dtype)

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
