"""Image files to arrays: every common pixel format in, RGB bytes out."""

import io
import os
from dataclasses import dataclass

import numpy as np
from PIL import Image

from jaxflow.data.image_file import open_image, several_frames, stored_values, to_rgb
from jaxflow.data.masks import decode_mask, resize_mask

__all__ = [
    "ImageFacts",
    "decode_image",
    "decode_mask",
    "encode_png",
    "examine_image",
    "resize_image",
    "resize_mask",
]


@dataclass(frozen=True)
class ImageFacts:
    """What a file says beside the pixels that are read.

    Attributes:
      shape: (height, width), pixels.
      several_frames: whether frames after the first are left out.
      peak: greatest value of an image with 16 bits a channel, 0 to 65535; None for others.
    """

    shape: tuple[int, int]
    several_frames: bool
    peak: int | None


def decode_image(source: bytes | str | os.PathLike[str], *, name: str | None = None) -> np.ndarray:
    """Decode an image file to RGB.

    8-bit and 1-bit grey are repeated over the three channels. 16-bit grey is scaled by 1/257, so
    that its full range 0..65535 becomes 0..255. A scale on which 0 is white is turned round. An
    alpha channel, a palette's transparency included, is dropped, not blended. CMYK is converted by
    Pillow. The orientation that a camera wrote (EXIF) is applied. Of several frames the first is
    read. An image may be as large as the memory.

    Args:
      source: the bytes of an image file, or its path.
      name: what an error calls the image; the path by default.

    Returns:
      u8[h, w, 3].

    Raises:
      InputError: if the file is missing, no regular file, empty, corrupt, no image, too large for
        the memory, or has 32-bit or signed pixels.
    """
    with open_image(source, name) as (image, name):
        return to_rgb(image, name)


def examine_image(source: bytes | str | os.PathLike[str], *, name: str | None = None) -> ImageFacts:
    """Decode an image file for what it says beside its pixels.

    Args:
      source: as for `decode_image`.
      name: as for `decode_image`.

    Returns:
      The facts.

    Raises:
      InputError: as `decode_image`.
    """
    with open_image(source, name) as (image, name):
        # Pillow keeps the upper 8 of 16 bits of colors, and says so before it reads them.
        deep = any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()))
        frames = several_frames(image)
        pixels = to_rgb(image, name)
        peak = None
        if image.mode.startswith("I"):
            peak = int(stored_values(image).max())
        elif deep:
            peak = int(pixels.max()) * 257
        return ImageFacts((pixels.shape[0], pixels.shape[1]), frames, peak)


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize an image, bilinear with antialiasing (a triangle as wide as the reduction).

    Args:
      image: u8[h, w, 3].
      size: (height, width) wanted, pixels.

    Returns:
      u8[height, width, 3].
    """
    height, width = size
    if image.shape[:2] == (height, width):
        return image
    resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized)


def encode_png(pixels: np.ndarray) -> bytes:
    """Encode an image or a mask as PNG, without loss.

    Args:
      pixels: u8[h, w, 3], or bool[h, w] (stored as 0 and 255).

    Returns:
      The bytes of the file.
    """
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8) * 255
    buffer = io.BytesIO()
    # Level 1 is three times as fast as the default, for files a tenth larger.
    Image.fromarray(pixels).save(buffer, format="png", compress_level=1)
    return buffer.getvalue()
