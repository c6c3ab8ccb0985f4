"""Images that commands read: found, named, read in groups; and regions of them."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from jaxflow.data.image import decode_image, resize_image
from jaxflow.data.image_file import printable
from jaxflow.data.scan import Scan, scan
from jaxflow.detectors.generation import Region
from jaxflow.errors import InputError
from jaxflow.experiments.command_line import warn

_LONGEST_NAME = 255  # Bytes, in the file systems of today.


def find_images(inputs: Sequence[str], output: Path) -> list[Path]:
    """List the images named, and those in the folders named, at any depth.

    A folder that can be reached in several ways is read once. A link to an image counts as another
    image. Hidden files and folders count only where they are named. A line says what else is passed
    over in a folder.

    Args:
      inputs: images and folders.
      output: folder of the results; what lies in it is no input.

    Raises:
      InputError: if a path does not exist, a folder holds no image, or it is the output's.
    """
    images: dict[str, Path] = {}
    for name in inputs:
        for path in _images_of(Path(name), output):
            images.setdefault(os.path.join(os.path.realpath(path.parent), path.name), path)
    return list(images.values())


def _images_of(path: Path, output: Path) -> list[Path]:
    """List the images of one input."""
    where = f"--input {printable(path)}"
    if os.path.isdir(path):
        place = path.resolve()
        if output.resolve() in (place, *place.parents):
            raise InputError(
                f"--output {printable(output)}: give a folder other than that of {where}, and none "
                "above it"
            )
        found = _without_results(scan(path), path, output)
        if not found.images:
            passed = "".join(f"; {note}" for note in found.notes())
            raise InputError(f"{where}: the folder holds no image{passed}")
        for note in found.notes():
            warn(note)
        return found.images
    if os.path.isfile(path):
        return [path]
    if os.path.exists(path):
        raise InputError(f"{where}: a device or a pipe, not an image file")
    raise InputError(f"{where}: no such file or folder")


def _without_results(found: Scan, folder: Path, output: Path) -> Scan:
    """Leave out what lies in the output, and name the links that lead there."""
    results, root = output.resolve(), folder.resolve()

    def outside(path: Path) -> bool:
        return results not in (root / path.relative_to(folder)).parents

    images: list[Path] = []
    linked: list[Path] = []
    for path in filter(outside, found.images):
        (linked if results in path.resolve().parents else images).append(path)
    return Scan(
        images=images,
        others=[path for path in found.others if outside(path)],
        hidden=[path for path in found.hidden if outside(path)],
        broken=[(path, why) for path, why in found.broken if outside(path)]
        + [(path, "a link to a result in the output folder") for path in linked],
    )


def read_chunks(
    paths: Sequence[Path], size: tuple[int, int], length: int
) -> Iterator[tuple[list[Path], np.ndarray]]:
    """Read images in groups; report and pass over those that cannot be read."""
    chunk: list[Path] = []
    images: list[np.ndarray] = []
    for path in paths:
        try:
            images.append(resize_image(decode_image(path), size))
            chunk.append(path)
        except InputError as error:
            warn(f"{error}; passed over")
        if len(chunk) == length:
            yield chunk, np.stack(images)
            chunk, images = [], []
    if chunk:
        yield chunk, np.stack(images)


def name_images(paths: Sequence[Path]) -> dict[Path, str]:
    """Name each image by its path below the deepest folder that holds them all."""
    root = os.path.commonpath([Path(os.path.abspath(path)).parent for path in paths])
    return {path: Path(os.path.abspath(path)).relative_to(root).as_posix() for path in paths}


def picture_path(output: Path, name: str) -> Path:
    """Name the picture of an image; a name that would be too long ends in its hash."""
    path = output / f"{name}.png"
    if len(os.fsencode(path.name)) <= _LONGEST_NAME:
        return path
    start = os.fsencode(path.name)[: _LONGEST_NAME - 21].decode(errors="ignore")
    return path.with_name(f"{start}~{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}.png")


def parse_region(texts: Sequence[str]) -> Region:
    """Read a region from "top", "left", "height", "width".

    Raises:
      InputError: unless they are four fractions that stay inside the image.
    """
    try:
        region = Region(*map(float, texts))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"--region={','.join(texts)}: expected top,left,height,width as fractions, such as "
            "0.4,0.4,0.2,0.2"
        ) from error
    inside = region.top + region.height <= 1 and region.left + region.width <= 1
    if not (min(region) >= 0 and min(region.height, region.width) > 0 and inside):
        raise InputError(
            f"--region={','.join(texts)}: top + height and left + width must lie in (0, 1]"
        )
    return region
