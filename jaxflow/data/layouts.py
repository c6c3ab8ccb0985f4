"""The layout of MVTec AD, in which most sets of images for this task come."""

import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxflow.data.example import NORMAL
from jaxflow.data.image import decode_mask, encode_png
from jaxflow.data.image_file import printable
from jaxflow.data.mask_names import bare_stem, match_masks
from jaxflow.data.records import Content, Listing, Record
from jaxflow.data.scan import Scan, child, scan, subfolders
from jaxflow.errors import InputError

# Names that people give to the folder of normal images, without case, spaces and punctuation.
_NORMAL_NAMES = {
    "good",
    "goods",
    "ok",
    "okay",
    "normal",
    "normals",
    "nominal",
    "pass",
    "passed",
    "healthy",
    "clean",
    "free",
    "nodefect",
    "nodefects",
    "nondefect",
    "nondefective",
    "defectfree",
    "undamaged",
    "noanomaly",
    "nonanomalous",
}


def is_normal_name(name: str) -> bool:
    """Tell whether the name of a folder says that its images are normal, such as "OK"."""
    return re.sub(r"[\W_]", "", name).casefold() in _NORMAL_NAMES


def list_layout(folder: Path, category: str, *, own_validation: bool = False) -> Listing:
    """List `train/good`, `test/<defect>` and `ground_truth/<defect>` of one category.

    Images are read at any depth below these folders, and behind links that lead to no other part
    (see `scan`). Normal images may also lie in `train` itself. A folder with another name for
    normal, such as `OK`, is read as `good`. `test` and `ground_truth` may be missing. `match_masks`
    says how masks are named; several masks of one image, in a folder of its name, are joined.

    Args:
      folder: holds train.
      category: what to call it.
      own_validation: whether `validation/good` must be there and is the validation split.

    Returns:
      The listing, sorted by name; the defect of an image is the name of its folder. Its notes name
      what was skipped.

    Raises:
      InputError: if there are no normal images, if train or validation holds other folders than
        good, if images lie in test itself, if two folders say normal, or if some masks are missing.
    """
    train, test, truth = (child(folder, name) for name in ("train", "test", "ground_truth"))
    held_out = [child(folder, "validation")] if own_validation else []
    found = scan(folder, first=(train, *held_out, test, truth))
    normal_folder, normal = _normal_images(train, test, found)
    as_normal = [normal_folder] * (normal_folder != train)
    validation: list[Path] = []
    for place in held_out:
        normal_folder, validation = _normal_images(place, test, found)
        as_normal += [normal_folder] * (normal_folder != place)
    tested = _test_images(test, found)
    anomalous = [path for defect, path in tested if defect != NORMAL]
    masks: list[Path] = []
    of_normal: list[Path] = []
    for path in found.below(truth).images:
        is_normal = is_normal_name(path.relative_to(truth).parts[0])
        (of_normal if is_normal else masks).append(path)
    matched, notes = pair_masks(anomalous, test, masks, truth)
    as_normal += sorted(
        {test / path.relative_to(test).parts[0] for d, path in tested if d == NORMAL}
    )
    notes += _other_names([path for path in as_normal if path.name != NORMAL])
    read = {*normal, *validation, *(path for _, path in tested), *masks, *of_normal}
    beside = [path for path in found.images if path not in read]
    return Listing(
        category=category,
        train=[Record(relative_name(path, folder), path) for path in normal],
        validation=[Record(relative_name(path, folder), path) for path in validation],
        test=[
            Record(relative_name(path, folder), path, defect, mask_content(matched.get(path)))
            for defect, path in tested
        ],
        sources=mask_sources(matched),
        notes=[*notes, *beside_notes(beside), *found.notes(), *mask_like(normal + anomalous)],
        normal_masks=of_normal,
    )


def pair_masks(
    images: Sequence[Path], image_root: Path, masks: Sequence[Path], mask_root: Path
) -> tuple[dict[Path, list[Path]], list[str]]:
    """Match masks as `match_masks` does, and name those that belong to no image.

    Args:
      images: anomalous images below image_root.
      image_root: holds a folder for each defect.
      masks: files below mask_root.
      mask_root: holds the same folders.

    Returns:
      The masks of each image that has any; and notes on masks without image, and on masks that lie
      in a folder above that of their image, among those of others.

    Raises:
      InputError: as `match_masks`; or if some images have a mask, others have none, and there are
        masks that belong to no image.
    """
    matched, unmatched = match_masks(images, image_root, masks, mask_root)
    notes = _above_notes(matched, image_root, mask_root)
    if not unmatched:
        return matched, notes
    bare = [path for path in images if path not in matched]
    example = next(iter(bare or images), image_root / "scratch" / "000.png")
    expected = mask_root / example.relative_to(image_root).with_name(f"{example.stem}_mask.png")
    note = (
        f"{len(unmatched)} of {len(masks)} masks in {printable(mask_root)} belong to no image, the "
        f"first is {printable(unmatched[0])}; a mask is named as its image, such as "
        f"{printable(expected)}"
    )
    if matched and bare:
        raise InputError(
            f"{len(bare)} of {len(images)} anomalous images have no mask, the first is "
            f"{printable(bare[0])}; {note}"
        )
    return matched, [note, *notes]


def union_of_masks(paths: Sequence[Path]) -> bytes:
    """Join the masks of one image, one for each of its defects.

    Args:
      paths: mask files of the same size.

    Returns:
      The bytes of a PNG: anomalous where any of them is.

    Raises:
      InputError: as `decode_mask`, or if their sizes differ.
    """
    masks = [decode_mask(path) for path in paths]
    for path, mask in zip(paths, masks, strict=True):
        if mask.shape != masks[0].shape:
            raise InputError(
                f"{printable(path)} is {mask.shape[0]} x {mask.shape[1]} pixels (height x width), "
                f"another size than {printable(paths[0].name)} beside it; masks have the size of "
                "their image"
            )
    return encode_png(np.any(masks, axis=0))


def mask_content(masks: Sequence[Path] | None) -> Content | None:
    """Give the mask of a record: none, the one file, or what joins several."""
    if not masks:
        return None
    return masks[0] if len(masks) == 1 else functools.partial(union_of_masks, tuple(masks))


def mask_sources(matched: Mapping[Path, Sequence[Path]]) -> list[Path]:
    """List the files that are joined with others, for a listing to watch."""
    return [path for masks in matched.values() if len(masks) > 1 for path in masks]


def mask_like(images: Sequence[Path]) -> list[str]:
    """Name images that look like the mask of another image beside them."""
    known = {(path.parent, path.stem) for path in images}
    found = [
        path
        for path in images
        if bare_stem(path.stem) != path.stem and (path.parent, bare_stem(path.stem)) in known
    ]
    if not found:
        return []
    return [
        f"{len(found)} files are read as images and look like masks by their names, the first is "
        f"{printable(found[0])}; masks belong in ground_truth/<defect>"
    ]


def beside_notes(images: Sequence[Path]) -> list[str]:
    """Name images that lie where nothing is read."""
    if not images:
        return []
    return [
        f"images that lie beside the folders that are read are not used: {len(images)}, the first "
        f"is {printable(images[0])}"
    ]


def relative_name(path: Path, folder: Path) -> str:
    """Give the name of a record: its path below a folder, in characters that can be printed."""
    return printable(path.relative_to(folder).as_posix())


def _normal_images(place: Path, test: Path, found: Scan) -> tuple[Path, list[Path]]:
    """Find the folder of normal images in train or validation, and these."""
    normal = _one_normal([path for path in subfolders(place) if is_normal_name(path.name)])
    folder = normal or place
    in_place = found.below(place)
    for path in in_place.images:
        top = place / path.relative_to(place).parts[0]
        if top not in (path, normal):
            raise InputError(
                f"{printable(place)}: holds normal images only, in {NORMAL} or in itself; found "
                f"the folder {printable(top.name)}: if its images are normal, they belong in "
                f"{printable(place / NORMAL)}; if they show a defect, in {printable(test)}/<defect>"
            )
    images = in_place.below(folder).images
    if not images:
        raise InputError(
            f"{printable(folder)}: no normal images; expected png, jpg, bmp, tiff or webp files"
            + "".join(f"; {note}" for note in in_place.notes())
        )
    return folder, images


def _test_images(test: Path, found: Scan) -> list[tuple[str, Path]]:
    """List the images of test with their defects, sorted by folder."""
    folders = {path: test / path.relative_to(test).parts[0] for path in found.below(test).images}
    for path, folder in folders.items():
        if path == folder:
            raise InputError(
                f"{printable(test)}: images must lie in a folder named by their defect, or in "
                f"{NORMAL}; found {printable(path.name)}"
            )
    normal = _one_normal(
        [path for path in dict.fromkeys(folders.values()) if is_normal_name(path.name)]
    )
    return [
        (NORMAL if folder == normal else printable(folder.name), path)
        for path, folder in folders.items()
    ]


def _above_notes(
    matched: Mapping[Path, Sequence[Path]], image_root: Path, mask_root: Path
) -> list[str]:
    """Name masks that lie in a folder above that of their image, beside the masks of others."""
    above = {
        image: masks[0]
        for image, masks in matched.items()
        if _depth(masks[0], mask_root) < _depth(image, image_root)
    }
    own = {masks[0].parent for image, masks in matched.items() if image not in above}
    mixed = [(image, mask) for image, mask in above.items() if mask.parent in own]
    if not mixed:
        return []
    image, mask = mixed[0]
    return [
        f"{len(mixed)} of {len(matched)} masks lie in a folder above that of their image, among "
        f"others, the first is {printable(mask)}, which is read as the mask of {printable(image)}"
    ]


def _depth(path: Path, root: Path) -> int:
    return len(path.relative_to(root).parts)


def _one_normal(folders: Sequence[Path]) -> Path | None:
    if len(folders) > 1:
        names = [printable(path.name) for path in folders[:2]]
        raise InputError(
            f"{printable(folders[0].parent)}: the folders {names[0]} and {names[1]} both say "
            f"normal by their names; put the normal images into one folder {NORMAL}"
        )
    return folders[0] if folders else None


def _other_names(folders: Sequence[Path]) -> list[str]:
    if not folders:
        return []
    names = " and ".join(printable(path) for path in folders)
    return [f"images of {names} are read as normal; the usual name is {NORMAL}"]
