"""Feature maps from disturbed latents: a flow run backwards.

Reference: arXiv 2111.07677, section 4.5.
"""

from typing import Any, NamedTuple

import jax
import numpy as np

from jaxflow.detectors.contract import Detector
from jaxflow.detectors.flow import FlowDetector
from jaxflow.errors import InputError


class Region(NamedTuple):
    """A rectangle, in fractions of height and width from the upper left corner."""

    top: float
    left: float
    height: float
    width: float


class Generated(NamedTuple):
    """A feature map, its latents, and what noise makes of both.

    Attributes:
      before: f32[h, w, c], the normalized feature map.
      latents: f32[h, w, c].
      noised: f32[h, w, c], the latents with noise in the region.
      after: f32[h, w, c], what the inverse makes of the noised latents.
      restored: f32[h, w, c], what it makes of the latents as they were.
    """

    before: np.ndarray
    latents: np.ndarray
    noised: np.ndarray
    after: np.ndarray
    restored: np.ndarray


def check_numbers(detector: Detector, number: int, channel: int | None) -> FlowDetector:
    """Check that a detector has latents, a map and a channel.

    Args:
      detector: of any family.
      number: of the map, from 1.
      channel: of it, from 0; None: any.

    Raises:
      InputError: if not, naming the flag.
    """
    if not isinstance(detector, FlowDetector):
        raise InputError(f"{detector.describe()}: has no latents to disturb; train a flow")
    channels = detector.encoder.channels
    if number > len(channels):
        raise InputError(f"--map {number}: expected 1 to {len(channels)}")
    count = channels[number - 1]
    if channel is not None and not 0 <= channel < count:
        raise InputError(f"--channel {channel}: map {number} has channels 0 to {count - 1}")
    return detector


def region_mask(region: Region, size: tuple[int, int]) -> np.ndarray:
    """Mark the positions bool[h, w] of a map whose centers lie in a region, at least one."""
    rows, columns = (
        (np.abs(_centers(count) - start - length / 2) <= length / 2)
        | (np.arange(count) == min(int((start + length / 2) * count), count - 1))
        for count, start, length in zip(
            size, (region.top, region.left), (region.height, region.width), strict=True
        )
    )
    return rows[:, None] & columns


def _centers(count: int) -> np.ndarray:
    return (np.arange(count) + 0.5) / count


def generate(
    detector: FlowDetector,
    variables: dict[str, Any],
    image: np.ndarray,
    *,
    number: int,
    region: Region,
    noise: float,
    key: jax.Array,
) -> Generated:
    """Run an image forward, add noise to a region of one map's latents, and run it backwards.

    Args:
      detector: whose flows are run.
      variables: of its pyramid.
      image: u8[height, width, 3].
      number: of the feature map, from 0.
      region: where the noise is added.
      noise: its standard deviation.
      key: it is drawn from.

    Returns:
      The maps before and after.

    Reference: arXiv 2111.07677, section 4.5.
    """
    maps = jax.jit(detector.encoder)(detector.encoder.variables, image[None])
    apply = detector.pyramid.apply
    before = jax.jit(lambda v, m: apply(v, m, method="normalize")[0][number])(variables, maps)
    restore = jax.jit(lambda v, z: apply(v, z, method="restore")[number])
    latents = jax.jit(apply)(variables, maps)
    z = latents[number]
    mask = region_mask(region, z.shape[1:3])[..., None]
    noised = z + mask * noise * jax.random.normal(key, z.shape, z.dtype)
    changed = (*latents[:number], noised, *latents[number + 1 :])
    after, restored = (restore(variables, each) for each in (changed, latents))
    return Generated(*(np.asarray(x[0]) for x in (before, z, noised, after, restored)))


def changed_most(found: Generated) -> int:
    """Return the channel whose change is greatest against its own deviation."""
    change = np.abs(found.after - found.before).max((0, 1))
    deviation = found.before.std((0, 1))
    # A channel that is all but dead changes by more than its deviation and shows nothing.
    alive = deviation > 0.5 * np.median(deviation)
    return int(np.argmax(np.where(alive, change / np.maximum(deviation, 1e-12), -1.0)))
