"""Open image files of any format, size and origin, and read their pixels."""

import functools
import io
import os
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from jaxflow.errors import InputError

# Formats that Pillow decodes by itself, and their suffixes. It would call another program for EPS.
_FORMATS = {
    "PNG": (".png", ".apng"),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "BMP": (".bmp",),
    "DIB": (".dib",),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "JPEG2000": (".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
    "PPM": (".pbm", ".pgm", ".ppm", ".pnm"),
    "AVIF": (".avif",),
    "QOI": (".qoi",),
    "PCX": (".pcx",),
    "SGI": (".sgi",),
    "TGA": (".tga",),
}

IMAGE_SUFFIXES = tuple(suffix for suffixes in _FORMATS.values() for suffix in suffixes)

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
    RuntimeError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)

# Pillow's image, a copy of it and the array: bytes a pixel while an image is decoded.
_BYTES_PER_PIXEL = 12

# Tags of TIFF files.
_BITS, _PHOTOMETRIC = 258, 262


@contextmanager
def open_image(
    source: bytes | str | os.PathLike[str], name: str | None
) -> Iterator[tuple[Image.Image, str]]:
    """Open an image file, whatever its size, and turn what goes wrong into one line.

    Args:
      source: the bytes of an image file, or its path.
      name: what an error calls the image; the path by default.

    Yields:
      The image, not yet read, and its name.

    Raises:
      InputError: as `decode_image`.
    """
    name, data = _read(source, name)
    try:
        with _open(data) as image:
            _require_memory(image, name)
            yield image, name
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(
            f"{name}: the image is too large for the free memory; cut it into smaller ones"
        ) from error
    except _PILLOW_ERRORS as error:
        raise _unreadable(name, error) from error


def upright(image: Image.Image) -> Image.Image:
    """Read an open image and turn it as the camera was held (EXIF)."""
    ImageOps.exif_transpose(image, in_place=True)
    return image


def several_frames(image: Image.Image) -> bool:
    """Tell whether an open image, not yet read, has frames or pages after the first."""
    # The second frame of a photograph is a preview.
    return image.format != "MPO" and bool(getattr(image, "is_animated", False))


def to_rgb(image: Image.Image, name: str) -> np.ndarray:
    """Turn an open image upright and give its colors.

    Args:
      image: of any mode.
      name: what an error calls it.

    Returns:
      u8[h, w, 3].

    Raises:
      InputError: if its pixels have no known range.
    """
    image = upright(image)
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        grey = _unsigned_16(image).astype(np.float64) / 257.0
        return _repeat(np.rint(grey).astype(np.uint8))
    if image.mode in ("I", "F"):
        kind = "signed 16-bit" if _tag(image, _BITS) == 16 else "32-bit"
        raise InputError(
            f"{name}: {kind} pixels have no known range; save it with 8 or 16 bits, unsigned"
        )
    if image.mode in ("P", "PA"):
        # Straight to RGB, Pillow warns of a transparency that it drops.
        image = image.convert("RGBA")
    if image.mode in ("RGBA", "LA", "RGBX"):
        channels = np.asarray(image)[..., :-1]
        return (
            np.ascontiguousarray(channels) if channels.shape[-1] == 3 else _repeat(channels[..., 0])
        )
    return np.array(image.convert("RGB"))


def stored_values(image: Image.Image) -> np.ndarray:
    """Turn an open image upright and give its grey values as they are stored.

    Args:
      image: of a grey mode.

    Returns:
      [h, w] of the file's own dtype; bool of one-bit images.
    """
    image = upright(image)
    return _unsigned_16(image) if image.mode.startswith("I;16") else np.asarray(image)


def printable(path: str | os.PathLike[str]) -> str:
    r"""Write a path so that every terminal and every file can hold it.

    Args:
      path: may hold bytes that are not UTF-8, and control characters such as newlines.

    Returns:
      The path, with such bytes as \xfc and such characters as \n.
    """
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() or ord(c) > 159 else ascii(c)[1:-1] for c in text)


def _read(source: bytes | str | os.PathLike[str], name: str | None) -> tuple[str, bytes]:
    if isinstance(source, bytes):
        name, data = name or "image", source
    else:
        name = name or printable(source)
        try:
            mode = os.stat(source).st_mode
            if not stat.S_ISREG(mode):
                kind = "a folder" if stat.S_ISDIR(mode) else "a device or a pipe"
                raise InputError(f"{name}: is {kind}, not an image file")
            data = Path(source).read_bytes()
        except OSError as error:
            raise InputError(f"{name}: cannot be read: {error.strerror}") from error
        except ValueError as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{name}: cannot be read: {error}") from error
    if not data:
        raise InputError(f"{name}: the file is empty; replace or remove it")
    return name, data


@functools.cache
def _openers() -> list:
    """List what opens each format; one that this Pillow lacks is skipped."""
    Image.init()
    return [Image.OPEN[kind] for kind in _FORMATS if kind in Image.OPEN]


def _open(data: bytes) -> Image.Image:
    """Open an image as `Image.open` does, except that its size has no limit.

    The limit of Pillow is one for the whole process. It is meant for files of strangers.
    """
    for factory, accepts in _openers():
        try:
            if accepts is None or accepts(data[:16]) is True:
                return factory(io.BytesIO(data), "")
        except (SyntaxError, IndexError, TypeError, struct.error):
            continue
    raise Image.UnidentifiedImageError


def _require_memory(image: Image.Image, name: str) -> None:
    needed = image.width * image.height * _BYTES_PER_PIXEL
    try:
        there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return
    if needed > there:
        raise InputError(
            f"{name}: {image.height} x {image.width} pixels take {needed / 2**30:.1f} GiB of "
            f"memory and the machine has {there / 2**30:.1f}; cut the image into smaller ones"
        )


def _unsigned_16(image: Image.Image) -> np.ndarray:
    """Give 16-bit grey values with 0 as black; Pillow turns only 8 bits round."""
    values = np.asarray(image)
    return 65535 - values if _tag(image, _PHOTOMETRIC) == 0 else values


def _tag(image: Image.Image, tag: int) -> int | None:
    """Give the number that a tag of a TIFF file holds, None for other files."""
    value = getattr(image, "tag_v2", {}).get(tag)
    return value[0] if isinstance(value, tuple) else value


def _repeat(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, axis=-1)


def _unreadable(name: str, error: BaseException) -> InputError:
    if isinstance(error, Image.UnidentifiedImageError):
        reason = "not an image that can be read (png, jpg, bmp, tiff, webp, gif and others)"
    else:
        reason = f"the image is corrupt ({' '.join(str(error).split())})"
    return InputError(f"{name}: {reason}; replace or remove it")
