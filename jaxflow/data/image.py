"""Image files to arrays: every common pixel format in, RGB bytes out."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from jaxflow.errors import InputError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")

# What Pillow raises for files that are cut short, overwritten or of another kind. It has no
# common base class, and plugins let the errors of their parsers through.
_PILLOW_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


def is_image_file(path: Path) -> bool:
    """Tell whether a path is a visible file with the suffix of an image.

    Args:
      path: any path; hidden files (macOS leaves `._name.png` beside `name.png`) do not count.

    Returns:
      True for visible png, jpg, jpeg, bmp, tif and tiff files, in either case.
    """
    return (
        path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def decode_image(source: bytes | str | os.PathLike[str], *, name: str | None = None) -> np.ndarray:
    """Decode an image file to RGB.

    8-bit and 1-bit grey are repeated over the three channels. 16-bit grey is scaled by 1/257, so
    that its full range 0..65535 becomes 0..255. An alpha channel, a palette's transparency
    included, is dropped, not blended. CMYK is converted by Pillow. The orientation that a camera
    wrote (EXIF) is applied. Of several frames the first is read.

    Args:
      source: the bytes of a png, jpg, bmp or tiff file, or its path.
      name: what an error calls the image; the path by default.

    Returns:
      u8[h, w, 3].

    Raises:
      InputError: if the file is missing, empty, corrupt, no image, or has 32-bit pixels.
    """
    name, data = _read(source, name)
    try:
        with Image.open(io.BytesIO(data)) as opened:
            image = ImageOps.exif_transpose(opened)
            return _to_rgb(image, name)
    except InputError:
        raise
    except _PILLOW_ERRORS as error:
        raise _unreadable(name, error) from error


def decode_mask(source: bytes | str | os.PathLike[str], *, name: str | None = None) -> np.ndarray:
    """Decode a mask file, whichever value stands for anomalous in it.

    A pixel is anomalous where its value is in the upper half of the range (over 127 of 255; the
    grey that smoothing left at edges is split there), or, in a mask that is dark throughout (1 for
    anomalous, numbers of classes) and in one with a palette, where it is not zero. Of color
    channels the largest counts.

    Args:
      source: the bytes of an image file, or its path.
      name: what an error calls the mask; the path by default.

    Returns:
      bool[h, w].

    Raises:
      InputError: if the file is missing, empty, corrupt or no image.
    """
    name, data = _read(source, name)
    try:
        with Image.open(io.BytesIO(data)) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode in ("P", "PA"):
                return np.asarray(_to_rgb(image, name).any(axis=-1))
            # Grey values are compared as they are stored: scaled to 8 bits, a 16-bit 1 would be 0.
            grey = image.mode in ("1", "L", "I", "F") or image.mode.startswith("I;16")
            values = np.asarray(image if grey else _to_rgb(image, name).max(axis=-1))
            middle = 32767 if image.mode.startswith("I;16") else 127
    except InputError:
        raise
    except _PILLOW_ERRORS as error:
        raise _unreadable(name, error) from error
    threshold = middle if values.max() > middle else 0
    return np.asarray(values > threshold, np.bool_)


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


def resize_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a mask by taking the nearest pixel.

    Args:
      mask: bool[h, w].
      size: (height, width) wanted, pixels.

    Returns:
      bool[height, width].
    """
    height, width = size
    if mask.shape == (height, width):
        return mask
    resized = Image.fromarray(mask.astype(np.uint8)).resize(
        (width, height), Image.Resampling.NEAREST
    )
    return np.asarray(resized) != 0


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


def _read(source: bytes | str | os.PathLike[str], name: str | None) -> tuple[str, bytes]:
    if isinstance(source, bytes):
        name, data = name or "image", source
    else:
        name = name or os.fspath(source)
        try:
            data = Path(source).read_bytes()
        except OSError as error:
            raise InputError(f"{name}: cannot be read: {error.strerror}") from error
    if not data:
        raise InputError(f"{name}: the file is empty; replace or remove it")
    return name, data


def _to_rgb(image: Image.Image, name: str) -> np.ndarray:
    if image.mode.startswith("I;16"):
        grey = np.asarray(image).astype(np.float64) / 257.0
        return _repeat(np.rint(grey).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise InputError(f"{name}: 32-bit pixels have no known range; save it with 8 or 16 bits")
    if image.mode in ("P", "PA"):
        # Straight to RGB, Pillow warns of a transparency that it drops.
        image = image.convert("RGBA")
    if image.mode in ("RGBA", "LA", "RGBX"):
        channels = np.asarray(image)[..., :-1]
        return (
            np.ascontiguousarray(channels) if channels.shape[-1] == 3 else _repeat(channels[..., 0])
        )
    return np.array(image.convert("RGB"))


def _repeat(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, axis=-1)


def _unreadable(name: str, error: BaseException) -> InputError:
    if isinstance(error, Image.UnidentifiedImageError):
        reason = "not an image that can be read (png, jpg, bmp, tiff)"
    else:
        reason = f"the image is corrupt ({' '.join(str(error).split())})"
    return InputError(f"{name}: {reason}; replace or remove it")
