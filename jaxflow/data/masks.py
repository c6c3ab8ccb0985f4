"""Mask files to arrays, whichever way they say which pixels are anomalous."""

import os

import numpy as np
from PIL import Image
from scipy import ndimage

from jaxflow.data.image_file import open_image, stored_values, to_rgb, upright
from jaxflow.errors import InputError

# Whole numbers up to this are numbers of classes, not shades of grey.
_LAST_CLASS = 31

# Of the outline of faint pixels, the part that may lie on slopes where they are classes.
_MOST_SLOPES = 0.3


def decode_mask(source: bytes | str | os.PathLike[str], *, name: str | None = None) -> np.ndarray:
    """Decode a mask file, whichever value stands for anomalous in it.

    A mask is read as grey values: of color channels the largest counts, and a transparent pixel is
    black. Where every pixel that is not transparent has the same color, the alpha channel is the
    mask. The rule is the same for 8, 16 and 32 bits:

    - Values of 0 to 31 are numbers of classes, and so are the colors of a palette: every pixel
      that is not 0 (black) is anomalous.
    - Otherwise a pixel is anomalous in the upper half of the range. The range ends at 1, 255 or
      65535, or at the mask's largest value if that lies in the lower half. So the grey that
      smoothing or JPEG left around a region is split in the middle.
    - Unless pixels in the lower half are classes too: then every pixel that is not 0 is anomalous.
      They are classes if they fill areas with hard edges, or lines. Smoothed edges and JPEG's noise
      form slopes and specks: a pixel on a slope has both a darker and a brighter neighbor, and a
      speck is nearly black and has hardly a neighbor of its own value.

    Args:
      source: the bytes of an image file, or its path.
      name: what an error calls the mask; the path by default.

    Returns:
      bool[h, w].

    Raises:
      InputError: if the file is missing, empty, corrupt or no image, or has values that are not
        finite.
    """
    with open_image(source, name) as (image, name):
        values, palette = _grey(image, name)
    if not np.isfinite(values).all():
        raise InputError(f"{name}: the mask has values that are not finite; save it with 8 bits")
    return _is_anomalous(values, palette)


def resize_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a mask by taking the nearest pixel, unless nothing of it would be left.

    A thin defect can lie between all pixels that are taken. A mask that would become empty is
    anomalous wherever a pixel of the result covers an anomalous one.

    Args:
      mask: bool[h, w].
      size: (height, width) wanted, pixels.

    Returns:
      bool[height, width], with an anomalous pixel if `mask` has one.
    """
    if mask.shape == tuple(size):
        return mask
    nearest = _nearest(mask.astype(np.uint8), size) != 0
    return nearest if nearest.any() or not mask.any() else _covering(mask, size)


def count_vanished(mask: np.ndarray, size: tuple[int, int]) -> tuple[int, int]:
    """Count the regions of a mask that have no pixel left when it is resized.

    Args:
      mask: bool[h, w].
      size: (height, width) wanted, pixels.

    Returns:
      How many vanish, and how many there are; pixels that touch at a corner are of one region.
    """
    if not mask.any():
        return 0, 0
    regions, count = ndimage.label(mask, np.ones((3, 3)))
    left = np.unique(_nearest(regions.astype(np.int32), size))
    return count - int(np.count_nonzero(left)), count


def _nearest(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    image = Image.fromarray(values)
    return np.asarray(image.resize((size[1], size[0]), Image.Resampling.NEAREST))


def _covering(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    rows, columns = np.nonzero(mask)
    covered = np.zeros(size, np.bool_)
    covered[rows * size[0] // mask.shape[0], columns * size[1] // mask.shape[1]] = True
    return covered


def _grey(image: Image.Image, name: str) -> tuple[np.ndarray, bool]:
    """Give the values [h, w] of a mask, and whether they are those of a colored palette."""
    if image.has_transparency_data and not image.mode.startswith("I"):
        layers = np.asarray(upright(image).convert("RGBA"))
        return _paint(layers[..., :3], layers[..., 3]), False
    if image.mode == "P":
        colors = to_rgb(image, name)
        return colors.max(axis=-1), bool((colors != colors[..., :1]).any())
    if image.mode in ("1", "L", "I", "F") or image.mode.startswith("I;16"):
        # Values as they are stored: scaled to 8 bits, a 16-bit 1 would be 0.
        return stored_values(image), False
    return to_rgb(image, name).max(axis=-1), False


def _paint(colors: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Give the values of a mask with an alpha channel u8[h, w] and colors u8[h, w, 3]."""
    brightness, visible = colors.max(axis=-1), colors[alpha > 0]
    if len(visible) and alpha.min() == alpha.max():
        return brightness
    if not len(visible) or (visible == visible[0]).all():
        return alpha
    return np.rint(brightness * (alpha / 255)).astype(np.uint8)


def _is_anomalous(values: np.ndarray, palette: bool) -> np.ndarray:
    peak = float(values.max())
    whole = values.dtype.kind != "f" or bool((values == np.rint(values)).all())
    if palette or peak <= 0 or (whole and peak <= _LAST_CLASS):
        return np.asarray(values > 0)
    end = next((end for end in (1, 255, 65535) if peak <= end), peak)
    middle = (end if 2 * peak > end else peak) / 2
    faint = (values > 0) & (values <= middle)
    if faint.any() and _are_classes(values, faint, middle):
        return np.asarray(values > 0)
    return np.asarray(values > middle)


def _are_classes(values: np.ndarray, faint: np.ndarray, middle: float) -> bool:
    """Tell whether faint pixels fill areas with hard edges; see `decode_mask`."""
    padded = np.pad(values, 1, mode="edge")
    rows, columns = np.nonzero(faint)
    around = np.stack([padded[rows + i, columns + j] for i in range(3) for j in range(3)])
    pixels, darkest, brightest = around[4], around.min(0), around.max(0)
    outline = darkest != brightest
    slopes = (darkest < pixels) & (pixels < brightest)
    # A wide slope has steps of many pixels, each a level or two high.
    slopes |= (pixels > 2) & (brightest - darkest <= 2)
    # Specks just above black are noise, not classes.
    slopes |= (pixels <= middle / 16) & ((around == pixels).sum(0) < 3)
    return int((outline & slopes).sum()) <= _MOST_SLOPES * int(outline.sum())
