"""Random weights whose features are of a sane scale, for when no trained ones are wanted."""

import math
import zlib
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxflow.encoders.layout import Conv
from jaxflow.encoders.module import FeatureModule

_BATCH = 8
_OCTAVES = 6
_EMBEDDING_STD = 0.02
_MIN_STD = 1e-3


def random_variables(module: FeatureModule, seed: int, size: int) -> dict[str, Any]:
    """Draw weights from a seed, normalized as batch norm would.

    Kernels are normal with variance 1 / fan-in, biases 0, scales 1. Then a batch of smooth noise is
    run, and each convolution that has a batch norm in the trained network is scaled and shifted so
    that each of its channels has mean 0 and standard deviation 1 on it: without, features fade or
    grow from stage to stage. Transformers hold their scale by layer norm and are left as drawn.

    Args:
      module: what to initialize.
      seed: of the weights and of the noise.
      size: side of the noise images, pixels.

    Returns:
      {"params": ...}, numpy f32.

    Reference: arXiv 1511.06856 (data-dependent initialization).
    """
    x = _smooth_noise(seed, size)
    shapes = jax.eval_shape(module.init, jax.random.key(0), x)["params"]
    params = jax.tree_util.tree_map_with_path(lambda path, s: _draw(seed, path, s.shape), shapes)
    normed = {path for path, source in module.layout().items() if _has_norm(source)}
    if normed:
        convs = jax.jit(lambda p: _normalize(module, p, x, normed))(params)
        params = _replace(params, convs)
    return {"params": jax.tree.map(np.asarray, params)}


def _draw(seed: int, path: tuple[Any, ...], shape: tuple[int, ...]) -> np.ndarray:
    """Draw one parameter from its own name: NumPy's bits are the same on every device."""
    name = "/".join(entry.key for entry in path)
    leaf = path[-1].key
    if leaf == "bias":
        return np.zeros(shape, np.float32)
    if leaf in ("scale", "gamma", "gamma_1", "gamma_2"):
        return np.ones(shape, np.float32)
    noise = np.random.default_rng([seed, zlib.crc32(name.encode())])
    # A stacked kernel has its blocks on a leading axis, which is no fan-in.
    inputs = shape[:-1] if len(shape) in (2, 4) else shape[1:-1]
    std = _EMBEDDING_STD if leaf == "pos_embed" else 1.0 / math.sqrt(math.prod(inputs))
    return std * noise.standard_normal(shape, np.float32)


def _has_norm(source: object) -> bool:
    return isinstance(source, Conv) and source.norm is not None


def _smooth_noise(seed: int, size: int) -> np.ndarray:
    """Draw standardized images that vary over many lengths, as natural ones do."""
    rng = np.random.default_rng(seed)
    total = np.zeros((_BATCH, size, size, 3), np.float32)
    for octave in range(_OCTAVES):
        length = 2**octave
        side = -(-size // length)
        noise = rng.standard_normal((_BATCH, side, side, 3), np.float32)
        total += noise.repeat(length, 1).repeat(length, 2)[:, :size, :size]
    return total / total.std()


def _normalize(
    module: FeatureModule, params: Any, x: np.ndarray, normed: set[tuple[str, ...]]
) -> dict[tuple[str, ...], dict[str, jax.Array]]:
    """Give the normalized kernel and bias of each convolution, in one run of the module."""
    convs: dict[tuple[str, ...], dict[str, jax.Array]] = {}

    def intercept(call, args, kwargs, context):
        y = call(*args, **kwargs)
        path = context.module.path
        if path not in normed or context.method_name != "__call__":
            return y
        std, mean = _rounded(jnp.maximum(y.std((0, 1, 2)), _MIN_STD)), _rounded(y.mean((0, 1, 2)))
        held = context.module.variables["params"]
        convs[path] = {"kernel": held["kernel"] / std, "bias": (held["bias"] - mean) / std}
        return (y - mean) / std

    with nn.intercept_methods(intercept):
        module.apply({"params": params}, x)
    return convs


def _rounded(x: jax.Array) -> jax.Array:
    """Round to 11 bits, so that devices that round differently give the same weights."""
    return x.astype(jnp.float16).astype(jnp.float32)


def _replace(params: Any, convs: dict[tuple[str, ...], dict[str, jax.Array]]) -> Any:
    result = jax.tree.map(lambda leaf: leaf, params)  # New dicts, the same arrays.
    for path, leaves in convs.items():
        node = result
        for part in path[:-1]:
            node = node[part]
        node[path[-1]] = leaves
    return result
