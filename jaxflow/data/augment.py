"""The augmentations of the two papers, as random maps for grain."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grain
import numpy as np
from PIL import Image


@dataclass(frozen=True)
class RandomFlipRotate(grain.transforms.RandomMap):
    """Flip and rotate an image at random, and its mask alike.

    Corners that a rotation opens are filled by reflection at the border; neither paper says with
    what, and a black corner would be a shape that no test image has.

    Attributes:
      horizontal_flip: probability.
      vertical_flip: probability.
      rotation: probability.
      degrees: largest angle either way; it is drawn uniformly.
    """

    horizontal_flip: float = 0.0
    vertical_flip: float = 0.0
    rotation: float = 0.0
    degrees: float = 0.0

    def random_map(self, element: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        """Transform one element.

        Args:
          element: "image" u8[h, w, 3] and, if it is there, "mask" bool[h, w]; others are kept.
          rng: where chance comes from; four numbers are drawn whatever the settings.

        Returns:
          The element with image and mask transformed, of the same sizes.
        """
        left_right, up_down, turn = rng.random(3)
        angle = rng.uniform(-1.0, 1.0) * self.degrees
        result = dict(element)
        for key in ("image", "mask"):
            pixels = result.get(key)
            if pixels is None:
                continue
            if left_right < self.horizontal_flip:
                pixels = pixels[:, ::-1]
            if up_down < self.vertical_flip:
                pixels = pixels[::-1]
            if turn < self.rotation:
                pixels = rotate(pixels, angle)
            result[key] = np.ascontiguousarray(pixels)
        return result


def rotate(pixels: np.ndarray, degrees: float) -> np.ndarray:
    """Rotate about the center, filling by reflection at the border.

    Args:
      pixels: u8[h, w, 3], interpolated bilinearly, or bool[h, w], by the nearest pixel.
      degrees: counter-clockwise.

    Returns:
      An array of the same shape and dtype.
    """
    height, width = pixels.shape[:2]
    cos, sin = (abs(f(math.radians(degrees))) for f in (math.cos, math.sin))
    # How far beyond each border the turned frame reaches, and a pixel for the interpolation.
    rows = max(0, math.ceil((width * sin + height * cos - height) / 2)) + 1
    columns = max(0, math.ceil((width * cos + height * sin - width) / 2)) + 1
    is_mask = pixels.dtype == np.bool_
    margins = [(rows, rows), (columns, columns)] + [(0, 0)] * (pixels.ndim - 2)
    padded = np.pad(pixels, margins, mode="reflect" if min(height, width) > 1 else "edge")
    turned = Image.fromarray(padded.astype(np.uint8)).rotate(
        degrees, Image.Resampling.NEAREST if is_mask else Image.Resampling.BILINEAR
    )
    return np.asarray(turned)[rows : rows + height, columns : columns + width].astype(pixels.dtype)


# The paper says that "some categories are not suitable for violent data augmentation. For example,
# the transistor can not be flipped upside down and rotated". It names no other.
FASTFLOW_EXCEPTIONS: dict[str, dict[str, float]] = {
    "transistor": {"vertical_flip": 0.0, "rotation": 0.0},
}


def no_augmentation(category: str | None = None) -> None:
    """Leave images as they are.

    Args:
      category: unused.
    """
    del category


def fastflow_augmentation(category: str | None = None) -> RandomFlipRotate:
    """Make FastFlow's: horizontal flip 0.5, vertical flip 0.3, rotation 0.7.

    The paper gives no angle. It is drawn from 15 degrees either way, the range that
    the paper's supplement uses to disturb the test set.

    Args:
      category: of MVTec AD, for `FASTFLOW_EXCEPTIONS`.

    Returns:
      The transform.

    Reference: arXiv 2111.07677, supplement 6.2.
    """
    settings = {"horizontal_flip": 0.5, "vertical_flip": 0.3, "rotation": 0.7}
    return RandomFlipRotate(
        degrees=15.0, **(settings | FASTFLOW_EXCEPTIONS.get(category or "", {}))
    )


def cflow_augmentation(category: str | None = None) -> RandomFlipRotate:
    """Make CFLOW's: rotation within 5 degrees, always.

    Args:
      category: unused.

    Returns:
      The transform.

    Reference: arXiv 2107.12571, section 5.1.
    """
    del category
    return RandomFlipRotate(rotation=1.0, degrees=5.0)


def differnet_augmentation(category: str | None = None) -> RandomFlipRotate:
    """Make DifferNet's: rotation by any angle, always.

    Args:
      category: unused.

    Returns:
      The transform.

    Source: DifferNet's public code (arXiv 2008.12577), which fills corners with black.
    """
    del category
    return RandomFlipRotate(rotation=1.0, degrees=180.0)


AUGMENTATIONS: dict[str, Callable[[str | None], RandomFlipRotate | None]] = {
    "none": no_augmentation,
    "fastflow": fastflow_augmentation,
    "cflow": cflow_augmentation,
    "differnet": differnet_augmentation,
}
