"""Four kinds of defect, drawn on a texture: outside its mask an image stays as it was."""

import math
from collections.abc import Callable

import numpy as np
from scipy import ndimage

# Where a defect covers less than this it is left out, so that the mask's edge is where it begins.
_FAINTEST = 0.2


def draw_scratch(
    image: np.ndarray, rng: np.random.Generator, extent: float, contrast: float
) -> tuple[np.ndarray, np.ndarray]:
    """Scratch the surface: a thin, slightly bent line, lighter or darker than its surroundings.

    Args:
      image: f32[s, s, 3], from 0 to 1.
      rng: where chance comes from.
      extent: about the length, as a part of the image's side.
      contrast: from 0, unseen, to 1.

    Returns:
      f32[s, s, 3], and cover f64[s, s] from 0 to 1, zero outside the defect.
    """
    size = image.shape[0]
    length = size * min(0.9, 3.0 * extent)
    along, across = _line_frame(size, rng, length, bend=0.12)
    width = rng.uniform(0.8, 1.6) * size / 256 * (0.6 + 4 * extent)
    # It is deepest in the middle and thins out towards both ends.
    taper = np.sqrt(np.clip(1 - (2 * along / length) ** 2, 0, 1))
    cover = _cut(
        np.clip(1.3 - np.abs(across) / np.maximum(width * taper, 1e-6), 0, 1) * (taper > 0)
    )
    target = image + rng.choice([-1.0, 1.0]) * _visible(image, contrast)
    return _blend(image, target, cover), cover


def draw_spot(
    image: np.ndarray, rng: np.random.Generator, extent: float, contrast: float
) -> tuple[np.ndarray, np.ndarray]:
    """Stain the surface: a soft-edged patch through which the texture still shows.

    Args:
      image: f32[s, s, 3], from 0 to 1.
      rng: where chance comes from.
      extent: about the diameter, as a part of the image's side.
      contrast: from 0, unseen, to 1.

    Returns:
      f32[s, s, 3], and cover f64[s, s] from 0 to 1, zero outside the defect.
    """
    size = image.shape[0]
    radius = _blob_radius(size, rng, extent)
    cover = _cut(np.clip((1.1 - radius) / 0.5, 0, 1))
    hue = np.array([[0.55, 0.40, 0.25], [0.30, 0.30, 0.35], [0.95, 0.90, 0.75]])[rng.integers(3)]
    strength = 0.2 + 0.6 * contrast
    target = image * (1 - strength) + strength * image.mean() * hue / hue.mean() * rng.choice(
        [0.7, 1.2]
    )
    return _blend(image, target, cover), cover


def draw_hole(
    image: np.ndarray, rng: np.random.Generator, extent: float, contrast: float
) -> tuple[np.ndarray, np.ndarray]:
    """Pierce the surface: a ragged patch without texture, dark on one side, with a light rim.

    Args:
      image: f32[s, s, 3], from 0 to 1.
      rng: where chance comes from.
      extent: about the diameter, as a part of the image's side.
      contrast: from 0, unseen, to 1.

    Returns:
      f32[s, s, 3], and cover f64[s, s] from 0 to 1, zero outside the defect.
    """
    size = image.shape[0]
    radius = _blob_radius(size, rng, 0.7 * extent, ragged=0.12)
    pixels = max(1.0, 0.35 * extent * size)
    cover = _cut(np.clip((1 - radius) * pixels + 0.5, 0, 1))
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    angle = rng.uniform(0, 2 * math.pi)
    shade = 1 + 0.3 * (math.cos(angle) * x + math.sin(angle) * y)
    inside = image.mean(axis=(0, 1)) * (0.75 - 0.55 * contrast) * shade[..., None]
    rim = np.exp(-(((1 - radius) * pixels - 1.0) ** 2) / 1.5)[..., None] * (0.1 + 0.25 * contrast)
    noise = 0.01 * rng.standard_normal((size, size, 1))
    return _blend(image, inside + rim + noise, cover), cover


def draw_pulled_thread(
    image: np.ndarray, rng: np.random.Generator, extent: float, contrast: float
) -> tuple[np.ndarray, np.ndarray]:
    """Pull a thread: along one axis a band of the texture is drawn aside, with a taut line in it.

    Args:
      image: f32[s, s, 3], from 0 to 1.
      rng: where chance comes from.
      extent: about half the length, as a part of the image's side.
      contrast: from 0, unseen, to 1.

    Returns:
      f32[s, s, 3], and cover f64[s, s] from 0 to 1, zero outside the defect.
    """
    size = image.shape[0]
    length = size * min(0.9, 2.5 * extent)
    axis = rng.choice([0.0, math.pi / 2])
    along, across = _line_frame(size, rng, length, bend=0.02, angle=axis)
    width = rng.uniform(2.5, 4.0) * size / 256 * (0.8 + 2 * extent)
    taper = np.sqrt(np.clip(1 - (2 * along / length) ** 2, 0, 1))
    near = np.clip(1 - np.abs(across) / np.maximum(1.6 * width * taper, 1e-6), 0, 1) * (taper > 0)
    pull = rng.choice([-1.0, 1.0]) * (1.0 + 2.0 * contrast) * width * near
    y, x = np.mgrid[:size, :size].astype(np.float64)
    # Aslant, so that it shows whichever way the texture runs.
    sources = [y + 0.8 * pull, x + 0.8 * pull]
    moved = np.stack(
        [ndimage.map_coordinates(image[..., c], sources, order=1, mode="mirror") for c in range(3)],
        -1,
    )
    line = np.exp(-((across / (0.35 * width)) ** 2)) * (near > 0)
    target = moved + (line * rng.choice([-1.0, 1.0]) * 0.6 * _visible(image, contrast))[..., None]
    cover = _cut(np.clip(3 * near, 0, 1))
    return _blend(image, target, cover), cover


DEFECTS: dict[str, Callable[..., tuple[np.ndarray, np.ndarray]]] = {
    "scratch": draw_scratch,
    "spot": draw_spot,
    "hole": draw_hole,
    "pulled_thread": draw_pulled_thread,
}


def _line_frame(
    size: int, rng: np.random.Generator, length: float, *, bend: float, angle: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Place a bent line; give each pixel's distance along it from its middle, and across it."""
    if angle is None:
        angle = rng.uniform(0, math.pi)
    y, x = np.mgrid[:size, :size].astype(np.float64)
    center_y, center_x = (
        _center(size, rng, 0.5 * length * abs(part)) for part in (math.sin(angle), math.cos(angle))
    )
    y, x = y - center_y, x - center_x
    along = math.cos(angle) * x + math.sin(angle) * y
    across = -math.sin(angle) * x + math.cos(angle) * y
    arc = rng.uniform(-bend, bend) * length * ((2 * along / length) ** 2 - 0.5)
    return along, across - arc


def _blob_radius(
    size: int, rng: np.random.Generator, diameter: float, *, ragged: float = 0.05
) -> np.ndarray:
    """Place an uneven ellipse; give each pixel's distance from its center, 1 on its edge."""
    half = 0.5 * diameter * size
    y, x = np.mgrid[:size, :size].astype(np.float64)
    y, x = y - _center(size, rng, half), x - _center(size, rng, half)
    angle = np.arctan2(y, x)
    stretch = rng.uniform(0.75, 1.3)
    edge = np.ones_like(angle)
    for waves in (2, 3, 5, 8):
        edge += (
            ragged
            * rng.uniform(0.5, 1.5)
            / math.sqrt(waves)
            * np.sin(waves * angle + rng.uniform(0, 2 * math.pi))
        )
    return np.hypot(y * stretch, x / stretch) / (half * edge)


def _center(size: int, rng: np.random.Generator, half: float) -> float:
    """Choose a coordinate that keeps a thing of this half width inside where it fits."""
    margin = min(half + 0.03 * size, 0.5 * size)
    return rng.uniform(margin, size - margin) if margin < 0.5 * size else 0.5 * size


def _visible(image: np.ndarray, contrast: float) -> float:
    """Give the change of brightness that a contrast means on a texture, smooth or lively."""
    return (0.9 + 4.0 * contrast) * max(0.03, float(image.mean(axis=-1).std()))


def _cut(cover: np.ndarray) -> np.ndarray:
    return np.where(cover < _FAINTEST, 0.0, cover)


def _blend(image: np.ndarray, target: np.ndarray, cover: np.ndarray) -> np.ndarray:
    blended = image + cover[..., None] * (target - image)
    # Chosen, not computed: outside the defect pixels must be equal to the last bit.
    return np.where(cover[..., None] > 0, np.clip(blended, 0, 1), image).astype(np.float32)
