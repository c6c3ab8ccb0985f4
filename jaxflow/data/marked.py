"""Images with their masks beside them, where only the masks tell normal from anomalous."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from jaxflow.data.image import decode_mask
from jaxflow.data.image_file import printable
from jaxflow.data.layouts import mask_content, relative_name
from jaxflow.data.mask_names import bare_stem, match_masks
from jaxflow.data.records import Record
from jaxflow.errors import InputError


@dataclass(frozen=True)
class MarkedImages:
    """Images by what their masks say.

    Attributes:
      normal: images whose masks are empty.
      anomalous: the others.
      masks: the masks of each image.
      notes: one line on masks that belong to no image, if there are any.
    """

    normal: list[Path]
    anomalous: list[Path]
    masks: dict[Path, list[Path]]
    notes: list[str]

    def anomalous_records(self, root: Path, defect: str) -> list[Record]:
        """Make the records of the anomalous images, named by their paths below root."""
        return [
            Record(relative_name(path, root), path, defect, mask_content(self.masks[path]))
            for path in self.anomalous
        ]


def sort_by_masks(name: str, files: Sequence[Path], root: Path, advice: str) -> MarkedImages:
    """Sort images by whether their masks mark any pixel; every mask is read.

    Args:
      name: of the data set, for messages.
      files: images and masks below root; a mask has the name of its image and a word such as
        `_label` or `_GT` after it.
      root: where they lie.
      advice: what to do if files are missing.

    Returns:
      The images, each with its masks.

    Raises:
      InputError: if there are no images, an image has no mask, or a mask cannot be read or fits
        several images.
    """
    masks = [path for path in files if bare_stem(path.stem) != path.stem]
    images = [path for path in files if bare_stem(path.stem) == path.stem]
    if not images:
        raise InputError(f"{name}: no images in {printable(root)}; {advice}")
    matched, unmatched = match_masks(images, root, masks, root)
    bare = [path for path in images if path not in matched]
    if bare:
        raise InputError(
            f"{name}: {len(bare)} of {len(images)} images have no mask, the first is "
            f"{printable(bare[0])}; only masks tell normal images from others: {advice}"
        )
    with ThreadPoolExecutor(4) as pool:
        marks = dict(
            zip(images, pool.map(_any_anomaly, [matched[path] for path in images]), strict=True)
        )
    return MarkedImages(
        normal=[path for path in images if not marks[path]],
        anomalous=[path for path in images if marks[path]],
        masks=matched,
        notes=[
            f"{len(unmatched)} of {len(masks)} masks in {printable(root)} belong to no image, the "
            f"first is {printable(path)}"
            for path in unmatched[:1]
        ],
    )


def _any_anomaly(masks: Sequence[Path]) -> bool:
    return any(decode_mask(path).any() for path in masks)
