"""Images to be scored, as people hand them over: arrays, paths, folders."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from jaxflow.data.image import decode_image, resize_image
from jaxflow.data.scan import scan
from jaxflow.errors import InputError

Images = np.ndarray | str | Path | Sequence[str | Path]


def read_inputs(
    images: Images, size: tuple[int, int], batch_size: int
) -> tuple[list[str], Iterator[np.ndarray]]:
    """Name images, and read them a batch at a time.

    Args:
      images: u8[n, h, w, 3] or u8[h, w, 3]; the path of an image or of a folder of images; or
        several paths.
      size: (height, width) that they are resized to, pixels.
      batch_size: images in a batch; the last may be shorter.

    Returns:
      The n names (paths, or numbers), n at least 1, and the batches u8[b, *size, 3].

    Raises:
      InputError: if there is no image, or, in the batches, if one cannot be read.
    """
    if isinstance(images, np.ndarray):
        array = images[None] if images.ndim == 3 else images
        if array.ndim != 4 or array.shape[-1] != 3 or array.dtype != np.uint8 or not len(array):
            raise InputError(
                f"images must be u8[n, h, w, 3], n at least 1, got {array.dtype}{list(array.shape)}"
            )
        return [str(i) for i in range(len(array))], _batches(array, size, batch_size)
    paths = [images] if isinstance(images, str | Path) else images
    files = [file for path in paths for file in _files(Path(path))]
    if not files:
        raise InputError(f"no images in {', '.join(map(str, paths)) or 'an empty list'}")
    return [str(file) for file in files], _batches(files, size, batch_size)


def _batches(
    images: np.ndarray | Sequence[Path], size: tuple[int, int], batch_size: int
) -> Iterator[np.ndarray]:
    for start in range(0, len(images), batch_size):
        part = images[start : start + batch_size]
        yield np.stack([resize_image(_decoded(image), size) for image in part])


def _decoded(image: np.ndarray | Path) -> np.ndarray:
    return decode_image(image) if isinstance(image, Path) else image


def _files(path: Path) -> list[Path]:
    return scan(path).images if path.is_dir() else [path]
