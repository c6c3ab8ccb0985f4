"""Anomaly maps as colors over the image, on one scale fixed by normal validation maps.

A scale per image paints every normal image red somewhere, and a scale over the test set changes a
picture with the other images in it. Here the scale is a property of the model.
"""

import matplotlib
import numpy as np
from matplotlib.colors import ListedColormap
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from jaxflow.errors import InputError
from jaxflow.evaluation.ranking import check_scores

TRUTH_COLOR = (0, 158, 224)
PREDICTED_COLOR = (230, 97, 0)


def heat_colors() -> ListedColormap:
    """Return the colors of heat: even in lightness, so read alike with any color vision.

    The darkest and the lightest ends are left out: on a picture they look like shadow and glare.
    """
    return ListedColormap(matplotlib.colormaps["inferno"](np.linspace(0.12, 0.95, 256)))


def normalise(anomaly_map: ArrayLike, low: float, high: float) -> NDArray[np.float32]:
    """Map low to 0 and high to 1, and cut what lies outside.

    Args:
      anomaly_map: floating, any shape.
      low: the value shown as 0.
      high: the value shown as 1.

    Returns:
      float32 in [0, 1], the shape of anomaly_map.

    Raises:
      InputError: unless low < high and the map is finite.
    """
    if not low < high:
        raise InputError(f"heat map: the scale needs low < high, got low={low} and high={high}")
    values = check_scores(anomaly_map, "anomaly map")
    return np.clip((values - low) / (high - low), 0.0, 1.0).astype(np.float32)


def heatmap_overlay(
    image: ArrayLike, anomaly_map: ArrayLike, low: float, high: float
) -> NDArray[np.uint8]:
    """Paint an anomaly map over its image; the paint thickens with the anomaly.

    Args:
      image: uint8 [h, w, 3].
      anomaly_map: floating [h, w].
      low: the value at and below which the image shows unpainted, in gray.
      high: the value at and above which the paint is thickest.

    Returns:
      uint8 [h, w, 3].

    Raises:
      InputError: if the shapes do not fit, low >= high or the map is not finite.
    """
    picture = check_picture(image, np.shape(anomaly_map), "anomaly map")
    heat = normalise(anomaly_map, low, high)
    colors = heat_colors()(heat)[..., :3] * 255
    gray = np.repeat(picture.mean(axis=-1, keepdims=True), 3, axis=-1)
    # Steep around the middle: normal variation stays faint, the threshold's color is clear.
    paint = 0.85 * np.minimum(heat / 0.6, 1.0)[..., None] ** 1.5
    return np.rint((1 - paint) * gray + paint * colors).astype(np.uint8)


def mask_overlay(
    image: ArrayLike, mask: ArrayLike, color: tuple[int, int, int]
) -> NDArray[np.uint8]:
    """Tint the masked pixels of an image and draw a line around them.

    Args:
      image: uint8 [h, w, 3].
      mask: bool [h, w].
      color: red, green and blue, 0 to 255.

    Returns:
      uint8 [h, w, 3].

    Raises:
      InputError: if the shapes do not fit.
    """
    picture = check_picture(image, np.shape(mask), "mask").astype(np.float32)
    inside = np.asarray(mask, dtype=bool)
    thickness = max(1, round(min(inside.shape) / 128))
    around = np.ones((3, 3), dtype=bool)
    line = ndimage.binary_dilation(inside, around, iterations=thickness) & ~inside
    paint = np.where(inside, 0.35, 0.0) + np.where(line, 0.95, 0.0)
    tinted = (1 - paint[..., None]) * picture + paint[..., None] * np.asarray(color, np.float32)
    return np.rint(tinted).astype(np.uint8)


def check_picture(image: ArrayLike, map_shape: tuple[int, ...], what: str) -> NDArray[np.uint8]:
    """Return the image if it is uint8 [h, w, 3] and fits the map, or raise InputError."""
    picture = np.asarray(image)
    if picture.ndim != 3 or picture.shape[-1] != 3 or picture.dtype != np.uint8:
        raise InputError(
            f"picture: image must be uint8 [h, w, 3], got {picture.dtype} {picture.shape}"
        )
    if picture.shape[:2] != tuple(map_shape):
        raise InputError(
            f"picture: {what} of shape {tuple(map_shape)} does not fit an image of "
            f"{picture.shape[:2]}; resize one to the other first"
        )
    return picture
