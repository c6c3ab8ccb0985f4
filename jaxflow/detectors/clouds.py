"""Vectors of a flow, position by position: features, latents, and features sampled from it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxflow.detectors.contract import Detector
from jaxflow.detectors.flow import FlowDetector
from jaxflow.errors import InputError


class Cloud(NamedTuple):
    """Vectors of positions.

    Attributes:
      vectors: f32[n, c].
      anomalous: bool[n], whether a mask touches the position.
    """

    vectors: np.ndarray
    anomalous: np.ndarray


class Clouds(NamedTuple):
    """What a flow makes of the vectors of one feature map, and what it makes by itself.

    Attributes:
      features: the normalized features of images.
      latents: of the same images; standard normal for normal positions.
      sampled: f32[m, c], normalized features that the inverse makes of drawn latents.
    """

    features: Cloud
    latents: Cloud
    sampled: np.ndarray


def check_latents(detector: Detector) -> FlowDetector:
    """Check that a detector has latents and a way back from them.

    Raises:
      InputError: if not.
    """
    if not isinstance(detector, FlowDetector):
        raise InputError(f"{detector.describe()}: has no latents; train a flow")
    if not detector.pyramid.flow.bijective:
        raise InputError(f"{detector.describe()}: the flow has no inverse to sample with")
    return detector


def draw_clouds(
    detector: FlowDetector,
    variables: dict[str, Any],
    maps: Sequence[jax.Array],
    masks: np.ndarray,
    key: jax.Array,
    count: int = 1000,
) -> list[Clouds]:
    """Run feature maps through a flow, sample as many, and pick vectors of each.

    Args:
      detector: whose flow has an inverse.
      variables: of the detector.
      maps: f32[b, h_i, w_i, c_i] of b images, one an encoder stage.
      masks: bool[b, height, width], True where anomalous.
      key: what is random is drawn from it.
      count: of normal, of anomalous and of sampled vectors at most.

    Returns:
      The vectors of each map that the flow sees.

    Reference: arXiv 2111.07677, Figure 1.
    """
    apply = detector.pyramid.apply
    features = jax.jit(lambda v, m: apply(v, m, method="normalize")[0])(variables, tuple(maps))
    latents = jax.jit(apply)(variables, tuple(maps))
    normal_key, latent_key = jax.random.split(key)
    shapes = tuple(z.shape for z in latents)
    drawn = jax.jit(lambda v: apply(v, latent_key, shapes, method="draw"))(variables)
    sampled = jax.jit(lambda v, z: apply(v, z, method="restore"))(variables, drawn)
    rng = np.random.default_rng(np.asarray(jax.random.bits(normal_key, (4,))))
    return [
        Clouds(
            _pick(x, masks, count, rng),
            _pick(z, masks, count, rng),
            _pick(s, np.zeros_like(masks), count, rng).vectors,
        )
        for x, z, s in zip(features, latents, sampled, strict=True)
    ]


def touched(masks: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return which positions bool[b, h, w] of a grid of that size masks bool[b, H, W] touch."""
    found = np.zeros((len(masks), *size), bool)
    image, row, column = np.nonzero(masks)
    height, width = masks.shape[1:]
    found[image, row * size[0] // height, column * size[1] // width] = True
    return found


def _pick(maps: jax.Array, masks: np.ndarray, count: int, rng: np.random.Generator) -> Cloud:
    """Pick vectors of maps f32[b, h, w, c]: up to `count` normal and `count` anomalous ones."""
    anomalous = touched(masks, (maps.shape[1], maps.shape[2])).reshape(-1)
    picked = [rng.permutation(np.flatnonzero(anomalous == kind))[:count] for kind in (False, True)]
    chosen = np.concatenate(picked)
    return Cloud(np.asarray(maps).reshape(-1, maps.shape[-1])[chosen], anomalous[chosen])
