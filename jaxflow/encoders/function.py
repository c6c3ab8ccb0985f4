"""An encoder of any function from images to feature maps."""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxflow.encoders.encoder import Encoder


@dataclasses.dataclass(frozen=True, eq=False)
class _Function:
    """A function with the attributes of a `Features`."""

    apply: Callable[[Any, jax.Array], Sequence[jax.Array]]
    channels: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: Any = jnp.float32


def function_encoder(
    name: str,
    function: Callable[[Any, jax.Array], Sequence[jax.Array]],
    variables: Any = None,
    *,
    input_size: int = 256,
    size_multiple: int = 1,
) -> Encoder:
    """Make an encoder of a function; channels and strides are those of the maps that it gives.

    Args:
      name: of the encoder.
      function: (variables, images) -> maps, pure. Images are f32[b, h, w, 3] in [0, 1]; a map is
        f32[b, ceil(h / s), ceil(w / s), c], s its stride in pixels.
      variables: what the function reads, a tree of arrays; their SHA-256 is recorded by runs.
      input_size: usual side of the input, pixels.
      size_multiple: what both sides of the input must be divisible by.

    Raises:
      ValueError: if the maps are not of that form.

    Example:
      >>> halves = function_encoder("halves", lambda variables, x: (x[:, ::2, ::2],))
      >>> halves.channels, halves.strides
      ((3,), (2,))
    """
    variables = jax.tree.map(np.asarray, {} if variables is None else variables)
    images = jax.ShapeDtypeStruct((1, input_size, input_size, 3), jnp.float32)
    maps = jax.eval_shape(function, variables, images)
    if not isinstance(maps, tuple | list) or not all(each.ndim == 4 for each in maps) or not maps:
        raise ValueError(f"encoder {name} must give a tuple of maps f32[b, h, w, c], got {maps}")
    strides = tuple(max(1, input_size // each.shape[1]) for each in maps)
    for i, (stride, each) in enumerate(zip(strides, maps, strict=True)):
        side = -(-input_size // stride)
        if each.shape[:3] != (1, side, side):
            raise ValueError(
                f"encoder {name}, map {i}: a map of stride {stride} of an image of {input_size} x "
                f"{input_size} must be [1, {side}, {side}, c], got {list(each.shape)}"
            )
    return Encoder(
        name=name,
        tag=None,
        weights="function",
        sha256=_sha256(variables),
        stages=tuple(range(1, len(maps) + 1)),
        module=_Function(function, tuple(each.shape[-1] for each in maps), strides),
        variables=variables,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        input_size=input_size,
        size_multiple=size_multiple,
    )


def _sha256(variables: Any) -> str:
    """Return the SHA-256 of all arrays: their places, dtypes, shapes and values."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        digest.update(f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}\n".encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()
