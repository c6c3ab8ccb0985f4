"""What is done to a feature map before its flow: four named choices."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxflow.flows.arguments import check_channels, per_channel, widen

_EPSILON = 1e-5


class Identity(nn.Module):
    """Leave the map as the encoder gives it; `log_det` is 0."""

    def __call__(self, x: jax.Array) -> tuple[jax.Array, float]:
        """Return x f[b, h, w, c] and 0."""
        return x, 0.0


class LayerNorm(nn.Module):
    """Normalize each image's map over h, w and c: `(x - mean) / sqrt(var + 1e-5)`.

    No bijection: two numbers an image are lost, and no log_det is counted for it. The likelihood
    is then that of the normalized map.

    Attributes:
      affine: whether a trained scale and offset f[h, w, c] follow, as in the public PyTorch
        reimplementations; this fixes the input size, and its log_det is left out as it is there.
    """

    affine: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, float]:
        """Return the normalized x f[b, h, w, c] and 0."""
        x = widen(x)
        x = x - x.mean((1, 2, 3), keepdims=True)
        x = x * jax.lax.rsqrt(jnp.square(x).mean((1, 2, 3), keepdims=True) + _EPSILON)
        if self.affine:
            x = x * self.param("scale", nn.initializers.ones, x.shape[1:])[None]
            x = x + self.param("offset", nn.initializers.zeros, x.shape[1:])[None]
        return x, 0.0


class Standardize(nn.Module):
    """Standardize each channel with the mean and deviation of the training set.

    forward: `(x - mean) / std`; log_det: `-sum_c log std` at every position. A bijection, so the
    likelihood of the encoder's own features stays exact. The statistics live in the collection
    `constants`; `channel_statistics` computes them and `set_statistics` puts them there.
    """

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return the standardized x f[b, h, w, c] and log_det f[], nats a position."""
        channels = x.shape[-1]
        mean = self.variable("constants", "mean", jnp.zeros, (channels,)).value
        std = self.variable("constants", "std", jnp.ones, (channels,)).value
        check_channels(channels, mean.shape[0])
        return (x - per_channel(mean, x)) / per_channel(std, x), -jnp.log(std).sum()


NORMALIZATIONS: dict[str, Callable[[], nn.Module]] = {
    "none": Identity,
    "layer_norm": LayerNorm,
    "layer_norm_affine": lambda: LayerNorm(affine=True),
    "standardize": Standardize,
}


def channel_statistics(feature_map: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute the mean and the standard deviation of each channel over a training set.

    Args:
      feature_map: f32[n, h, w, c], of all training images; may lie on disk.

    Returns:
      mean f32[c] and std f32[c], the latter at least 1e-5 (a channel that is constant).
    """
    positions = math.prod(feature_map.shape[:3])
    total = squares = np.zeros(feature_map.shape[-1])
    for image in feature_map:
        vectors = np.asarray(image, np.float64).reshape(-1, image.shape[-1])
        total = total + vectors.sum(0)
        squares = squares + np.square(vectors).sum(0)
    mean = total / positions
    variance = np.maximum(squares / positions - np.square(mean), 0.0)
    std = np.maximum(np.sqrt(variance), _EPSILON)
    return mean.astype(np.float32), std.astype(np.float32)


def set_statistics(
    constants: dict[str, Any], statistics: list[tuple[np.ndarray, np.ndarray]]
) -> dict[str, Any]:
    """Return the `constants` of a `FlowPyramid` with the statistics of its maps put in.

    Args:
      constants: the collection as `init` made it.
      statistics: (mean, std) of each map, as `channel_statistics` gives them.
    """
    filled = dict(constants)
    for i, (mean, std) in enumerate(statistics):
        filled[f"normalizations_{i}"] = {"mean": jnp.asarray(mean), "std": jnp.asarray(std)}
    return filled
