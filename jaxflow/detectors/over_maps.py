"""From the scores of each feature map to one anomaly map."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxflow.detectors.grid import upsample

Maps = Sequence[jax.Array]
# -log10 of the p-values whose quantiles are kept: from 1 to 10^-4, eight a decade.
_LEVELS = np.arange(33) / 8
_DECADE = 8
_LEAST = 1e-6


class Reference(NamedTuple):
    """What of normal images an anomaly map is relative to.

    Attributes:
      of_images: the score maps f[b, h_i, w_i] of images -> f[b, ...], or a tree of such arrays.
      reduce: those of all n images, f[n, ...] -> the reference.
      held_out: whether it is learned from the held-out normal images, which the flow has not seen
        (where there are none, from the training images); else from the training images.
    """

    of_images: Callable[[Maps], Any]
    reduce: Callable[[Any], Any]
    held_out: bool = False


class OverMaps(NamedTuple):
    """A way from the scores of each map to one anomaly map.

    Attributes:
      combine: (score maps f[b, h_i, w_i], (height, width), reference) -> f[b, height, width].
      meaning: what it does, the end of a sentence.
      reference: what `combine` is given as reference; None: nothing.
      gives_p_values: whether the anomaly map holds -log10 of p-values.
    """

    combine: Callable[[Maps, tuple[int, int], Any], jax.Array]
    meaning: str
    reference: Reference | None = None
    gives_p_values: bool = False


def mean(maps: Maps, size: tuple[int, int], reference: Any = None) -> jax.Array:
    """Upsample each map, and average; nothing is read of a reference.

    Reference: arXiv 2111.07677, section 3.3 (bilinear interpolation, no corner alignment).
    """
    del reference
    return jnp.stack([upsample(each, size) for each in maps]).mean(0)


def weighted(maps: Maps, size: tuple[int, int], reference: Any = None) -> jax.Array:
    """Upsample each map, and average, where each counts by its number of positions.

    The mean of the anomaly map is that of all positions of all maps, where the sides of `size` are
    multiples of theirs.

    Source: CS-Flow's public code (arXiv 2110.02855), for the mean.
    """
    del reference
    counts = np.array([m[0].size for m in maps])
    shares = counts / counts.sum()
    parts = [float(share) * upsample(m, size) for share, m in zip(shares, maps, strict=True)]
    return jnp.stack(parts).sum(0)


def calibrated(maps: Maps, size: tuple[int, int], moments: jax.Array) -> jax.Array:
    """Average the maps, each in standard deviations from its mean.

    Args:
      maps: f[b, h_i, w_i] each.
      size: (height, width) of the anomaly map.
      moments: f32[maps, 2], the mean and the deviation of each, as `_moments` gives them.
    """
    return mean([(m - at) / width for m, (at, width) in zip(maps, moments, strict=True)], size)


def typicality(maps: Maps, size: tuple[int, int], moments: jax.Array) -> jax.Array:
    """Average the distance of each map from its mean on normal images, on either side.

    Args:
      maps: f[b, h_i, w_i] each, nats per dimension.
      size: (height, width) of the anomaly map.
      moments: as `calibrated` takes them; the deviations are not used.

    Reference: arXiv 1906.02994, for whole images.
    """
    return mean([jnp.abs(m - at) for m, (at, _) in zip(maps, moments, strict=True)], size)


def max_p(maps: Maps, size: tuple[int, int], quantiles: jax.Array) -> jax.Array:
    """Return -log10 of the smallest p-value that the maps give each pixel.

    A value's p-value is the share of normal values of the same map that reach it; between the
    quantiles that are kept, and above the last, -log10 of it is linear in the score.

    Args:
      maps: f[b, h_i, w_i] each.
      size: (height, width) of the anomaly map.
      quantiles: f32[maps, levels], as `_quantiles` gives them.
    """
    each = [_log_p(m, known) for m, known in zip(maps, quantiles, strict=True)]
    return jnp.stack([upsample(m, size) for m in each]).max(0)


def cflow(maps: Maps, size: tuple[int, int], maxima: jax.Array | None) -> jax.Array:
    """Return CFLOW's map: the number of maps minus the sum of their upsampled `p`.

    `p = exp(log p(x) / c - m)` at every position, m the map's maximum of `log p(x) / c` over a
    reference set: the training set, so that a score does not depend on what else is scored. The
    public code takes m over the test set that it scores.

    Args:
      maps: f[b, h_i, w_i] each, the exact `-log p / c`.
      size: (height, width) of the anomaly map.
      maxima: f32[maps], nats per dimension.

    Returns:
      f[b, height, width]; 0 where all maps are as likely as the likeliest of the reference.

    Raises:
      ValueError: if there are no maxima, or of another number of maps.

    Reference: arXiv 2107.12571, section 4.2 (bilinear interpolation; corners aligned as in the
      public code).
    """
    if maxima is None or len(maxima) != len(maps):
        raise ValueError(
            f"the score cflow needs a training-set maximum for each of {len(maps)} maps, got "
            f"{0 if maxima is None else len(maxima)}"
        )
    p = [jnp.exp(-each - m) for each, m in zip(maps, maxima, strict=True)]
    return len(p) - jnp.stack([upsample(each, size, align_corners=True) for each in p]).sum(0)


def msflow_product(maps: Maps, size: tuple[int, int], reference: Any = None) -> jax.Array:
    """Return `1 - exp(m - sum_i m_i)` of upsampled maps m_i, m the least sum in the image.

    A pixel is 0 where it is most normal in its image, whatever the other images are.

    Reference: arXiv 2308.15300, section 3.4 (corners aligned as in the public code).
    """
    del reference
    # No stack: of a single map, its sum crashes XLA's CPU compiler (jax 0.10.2).
    total = jnp.asarray(sum(upsample(m, size, align_corners=True) for m in maps))
    return 1.0 - jnp.exp(total.min((1, 2), keepdims=True) - total)


def msflow_sum(maps: Maps, size: tuple[int, int], reference: Any = None) -> jax.Array:
    """Return `p - sum_i p_i`, with `p_i = exp(least of m_i - m_i)` upsampled, p the largest sum.

    Reference: arXiv 2308.15300, section 3.4 (corners aligned as in the public code).
    """
    del reference
    each = [jnp.exp(m.min((1, 2), keepdims=True) - m) for m in maps]
    total = jnp.asarray(sum(upsample(p, size, align_corners=True) for p in each))
    return total.max((1, 2), keepdims=True) - total


def _log_p(scores: jax.Array, quantiles: jax.Array) -> jax.Array:
    """Return -log10 of the p-values of scores f[b, h, w], given quantiles f32[levels]."""
    levels = jnp.asarray(_LEVELS, scores.dtype)
    slope = 1.0 / jnp.maximum(quantiles[-1] - quantiles[-1 - _DECADE], _LEAST)
    beyond = levels[-1] + slope * jnp.maximum(scores - quantiles[-1], 0.0)
    within = jnp.interp(scores.reshape(-1), quantiles, levels).reshape(scores.shape)
    return jnp.where(scores > quantiles[-1], beyond, within)


def _image_moments(maps: Maps) -> jax.Array:
    """Return the mean and the variance f[b, maps, 2] of each image's maps."""
    return jnp.stack([jnp.stack([m.mean((1, 2)), m.var((1, 2))], -1) for m in maps], 1)


def _moments(of_images: jax.Array) -> jax.Array:
    """Return the mean and the deviation f[maps, 2] of all positions of all images."""
    means, variances = jnp.moveaxis(of_images, -1, 0)
    deviation = jnp.sqrt(variances.mean(0) + means.var(0))
    return jnp.stack([means.mean(0), jnp.maximum(deviation, _LEAST)], -1)


def _quantiles(maps: Maps) -> jax.Array:
    """Return the quantiles f[maps, levels] of all positions of each map."""
    levels = 1.0 - 10.0**-_LEVELS
    return jnp.stack([jnp.quantile(m.reshape(-1), levels) for m in maps])


MEAN = OverMaps(mean, "averaged over the maps")
CFLOW = OverMaps(
    cflow,
    "relative to the largest seen on the training set",
    Reference(lambda maps: jnp.stack([-m.min((1, 2)) for m in maps], -1), lambda x: x.max(0)),
)
MSFLOW_PRODUCT = OverMaps(msflow_product, "multiplied, relative to the image's most normal pixel")
MSFLOW_SUM = OverMaps(msflow_sum, "added up, relative to the image's most normal pixel")
TYPICALITY = OverMaps(
    typicality,
    "its distance from the mean of held-out normal images",
    Reference(_image_moments, _moments, held_out=True),
)
# Suffix of a score's name -> what it does.
OVER_MAPS: dict[str, OverMaps] = {
    "calibrated": OverMaps(
        calibrated,
        "each map in standard deviations from the mean of held-out normal images",
        Reference(_image_moments, _moments, held_out=True),
    ),
    "weighted": OverMaps(weighted, "averaged, each map by its number of positions"),
    "max_p": OverMaps(
        max_p,
        "-log10 of the smallest p-value of the maps, by held-out normal images",
        Reference(tuple, _quantiles, held_out=True),
        gives_p_values=True,
    ),
}
