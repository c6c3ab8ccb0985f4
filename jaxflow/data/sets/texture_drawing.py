"""Four textures, drawn from a random generator: no two images are alike, all are normal."""

import math
from collections.abc import Callable

import numpy as np
from scipy import ndimage


def draw_woven(size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw a plain weave: two sets of threads, each above the other in turn.

    Args:
      size: height and width, pixels.
      rng: where chance comes from.

    Returns:
      f32[size, size, 3], from 0 to 1.
    """
    period = rng.uniform(9.5, 10.5)
    y, x = _grid(size, rng, tilt=2.0, wobble=1.2)
    warp, across_warp = np.divmod(x / period, 1.0)
    weft, across_weft = np.divmod(y / period, 1.0)
    warp_on_top = (warp + weft) % 2 == 0
    # A thread is round in section, and highest where it passes over the other.
    across = np.where(warp_on_top, across_warp, across_weft)
    along = np.where(warp_on_top, across_weft, across_warp)
    relief = np.sqrt(np.clip(1 - (2 * across - 1) ** 2, 0, 1)) * (
        0.55 + 0.45 * np.sin(np.pi * along)
    )
    fibers = ndimage.gaussian_filter(rng.standard_normal((size, size)), 0.6) * 0.05
    thread_tone = np.where(warp_on_top, _tones(warp, rng), _tones(weft, rng))
    warp_color, weft_color = np.array([0.62, 0.55, 0.44]), np.array([0.54, 0.50, 0.43])
    color = np.where(warp_on_top[..., None], warp_color, weft_color)
    return _finish(color * ((0.35 + 0.75 * relief) * thread_tone + fibers)[..., None], rng)


def draw_brushed(size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw brushed metal: grooves of all lengths along one direction.

    Args:
      size: height and width, pixels.
      rng: where chance comes from.

    Returns:
      f32[size, size, 3], from 0 to 1.
    """
    tone = np.zeros((size, size))
    for length, thickness, weight in ((60.0, 0.4, 0.050), (20.0, 0.5, 0.035), (90.0, 2.5, 0.030)):
        tone += rng.uniform(0.7, 1.4) * weight * _filtered_noise(size, (thickness, length), rng)
    # Short strong strokes and small pits belong to it: not every mark is a defect.
    strokes = _filtered_noise(size, (0.7, 9.0), rng)
    pits = _filtered_noise(size, (1.3, 1.8), rng)
    tone += 0.10 * np.clip(np.abs(strokes) - 2.6, 0, 1) * np.sign(strokes)
    tone -= 0.12 * np.clip(pits - 2.9, 0, 1)
    grain = 0.012 * rng.standard_normal((size, size))
    y = np.linspace(-1, 1, size)[:, None]
    gloss = 0.10 * np.exp(-((y - rng.uniform(-0.6, 0.6)) ** 2) / 0.35)
    color = np.array([0.60, 0.62, 0.65])
    return _finish(color * (0.92 + gloss + tone + grain)[..., None], rng)


def draw_speckled(size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw speckled stone: chips of three colors and many sizes in a mottled ground.

    Args:
      size: height and width, pixels.
      rng: where chance comes from.

    Returns:
      f32[size, size, 3], from 0 to 1.
    """
    mottle = _smooth_noise(size, 6.0, rng)
    image = np.array([0.66, 0.63, 0.60]) * (1 + 0.05 * mottle)[..., None]
    chips = (
        (3.2, 0.93, (0.78, 0.75, 0.72)),
        (2.2, 0.92, (0.45, 0.43, 0.43)),
        (1.4, 0.94, (0.30, 0.28, 0.29)),
        (1.1, 0.95, (0.70, 0.55, 0.46)),
    )
    for scale, quantile, color in chips:
        noise = _smooth_noise(size, scale, rng)
        # A steep ramp around the threshold, so that edges are a pixel wide and not jagged.
        cover = np.clip((noise - np.quantile(noise, quantile)) * 4 * scale / 1.5 + 0.5, 0, 1)
        chip_tone = 1 + 0.10 * _smooth_noise(size, 4 * scale, rng)
        image = image + cover[..., None] * (np.array(color) * chip_tone[..., None] - image)
    return _finish(image + 0.012 * rng.standard_normal((size, size, 1)), rng)


def draw_striped(size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw striped cloth: broad and narrow stripes across a fine rib.

    Args:
      size: height and width, pixels.
      rng: where chance comes from.

    Returns:
      f32[size, size, 3], from 0 to 1.
    """
    period = rng.uniform(37.0, 39.0)
    y, x = _grid(size, rng, tilt=2.0, wobble=1.5)
    phase = (x / period) % 1.0
    broad = _stripe(phase, 0.00, 0.42, period)
    narrow = _stripe(phase, 0.66, 0.76, period)
    base = np.array([0.74, 0.72, 0.66])
    image = np.broadcast_to(base, (size, size, 3))
    for cover, color in ((broad, (0.24, 0.32, 0.46)), (narrow, (0.58, 0.26, 0.24))):
        image = image + cover[..., None] * (np.array(color) - image)
    rib = 0.06 * np.sin(2 * np.pi * y / 3.6) * (0.7 + 0.3 * np.sin(2 * np.pi * x / 4.3))
    fibers = 0.05 * ndimage.gaussian_filter(rng.standard_normal((size, size)), (0.5, 1.0))
    return _finish(
        image * (1 + rib + fibers + 0.03 * _smooth_noise(size, 5.0, rng))[..., None], rng
    )


TEXTURES: dict[str, Callable[[int, np.random.Generator], np.ndarray]] = {
    "woven": draw_woven,
    "brushed": draw_brushed,
    "speckled": draw_speckled,
    "striped": draw_striped,
}


def _grid(
    size: int, rng: np.random.Generator, *, tilt: float, wobble: float
) -> tuple[np.ndarray, np.ndarray]:
    """Give pixel coordinates, shifted, turned by up to tilt degrees and bent by wobble pixels."""
    y, x = np.mgrid[:size, :size].astype(np.float64)
    angle = math.radians(rng.uniform(-tilt, tilt))
    # The whole offset is positive, so that thread numbers are too.
    shift = rng.uniform(size, 2 * size, 2)
    turned_x = math.cos(angle) * x - math.sin(angle) * y + shift[0]
    turned_y = math.sin(angle) * x + math.cos(angle) * y + shift[1]
    scale = size / 8
    return (
        turned_y + wobble * _smooth_noise(size, scale, rng),
        turned_x + wobble * _smooth_noise(size, scale, rng),
    )


def _smooth_noise(size: int, scale: float, rng: np.random.Generator) -> np.ndarray:
    return _filtered_noise(size, (scale, scale), rng)


def _filtered_noise(size: int, scales: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """Give Gaussian noise smoothed by (rows, columns) pixels, of mean 0 and deviation 1."""
    # In the Fourier domain the cost does not grow with the scale.
    spectrum = np.fft.rfft2(rng.standard_normal((size, size)))
    noise = np.fft.irfft2(ndimage.fourier_gaussian(spectrum, scales, n=size), (size, size))
    return (noise - noise.mean()) / noise.std()


def _tones(numbers: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Give each thread a tone of its own, by its number."""
    first = int(numbers.min())
    tones = 1 + 0.06 * rng.standard_normal(int(numbers.max()) - first + 1)
    return tones[numbers.astype(np.int64) - first]


def _stripe(phase: np.ndarray, start: float, stop: float, period: float) -> np.ndarray:
    """Cover a stripe whose edges are two pixels wide, across the seam of the phase too."""
    distance = np.abs((phase - (start + stop) / 2 + 0.5) % 1.0 - 0.5) - (stop - start) / 2
    return np.clip(0.5 - distance * period / 2, 0, 1)


def _finish(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add uneven light, a tint, the blur of a lens and the noise of a sensor."""
    size = image.shape[0]
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    light = rng.uniform(0.94, 1.06) + rng.uniform(-0.05, 0.05) * x + rng.uniform(-0.05, 0.05) * y
    tint = rng.uniform(0.985, 1.015, 3)
    blurred = ndimage.gaussian_filter(image * tint * light[..., None], (0.5, 0.5, 0))
    return np.clip(blurred + 0.006 * rng.standard_normal(image.shape), 0, 1).astype(np.float32)
