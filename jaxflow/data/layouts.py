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
from jaxflow.data.scan import Scan, child, scan, subfolders, unread
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


def list_layout(folder: Path, category: str) -> Listing:
    """List `train/good`, `test/<defect>` and `ground_truth/<defect>` of one category.

    Images are read at any depth below these folders, and behind links. Normal images may also lie
    in `train` itself. A folder with another name for normal, such as `OK`, is read as `good`.
    `test` and `ground_truth` may be missing. `match_masks` says how masks are named; several masks
    of one image, in a folder of its name, are joined.

    Args:
      folder: holds train.
      category: what to call it.

    Returns:
      The listing, sorted by name; the defect of an image is the name of its folder. Its notes name
      what was passed over.

    Raises:
      InputError: if there are no normal images, if train holds other folders than good, if images
        lie in test itself, if two folders say normal, or if some masks are missing.
    """
    train, test, truth = (child(folder, name) for name in ("train", "test", "ground_truth"))
    passed = Scan()
    normal_folder, normal = _train_images(train, test, passed)
    tested = _test_images(test, passed)
    anomalous = [path for defect, path in tested if defect != NORMAL]
    masks = passed.add(scan(truth))
    of_normal = [path for path in masks if is_normal_name(path.relative_to(truth).parts[0])]
    masks = [path for path in masks if path not in set(of_normal)]
    matched, notes = pair_masks(anomalous, test, masks, truth)
    as_normal = [normal_folder] * (normal_folder not in (train, train / NORMAL))
    as_normal += sorted(
        {test / path.relative_to(test).parts[0] for d, path in tested if d == NORMAL}
    )
    notes += _other_names([path for path in as_normal if path.name != NORMAL])
    beside = unread(folder, (normal_folder, test, truth), passed)
    return Listing(
        category=category,
        train=[Record(relative_name(path, folder), path) for path in normal],
        test=[
            Record(relative_name(path, folder), path, defect, mask_content(matched.get(path)))
            for defect, path in tested
        ],
        sources=mask_sources(matched),
        notes=[*notes, *beside_notes(beside), *passed.notes(), *mask_like(normal + anomalous)],
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
      The masks of each image that has any; and a note on masks without image, if there are any.

    Raises:
      InputError: as `match_masks`; or if some images have a mask, others have none, and there are
        masks that belong to no image.
    """
    matched, unmatched = match_masks(images, image_root, masks, mask_root)
    if not unmatched:
        return matched, []
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
    return matched, [note]


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
                f"another size than {paths[0].name} beside it; masks have the size of their image"
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


def _train_images(train: Path, test: Path, passed: Scan) -> tuple[Path, list[Path]]:
    """Find the folder of normal images, and these."""
    scans = {path: scan(path) for path in subfolders(train)}
    normal = _one_normal([path for path in scans if is_normal_name(path.name)])
    others = [path for path, found in scans.items() if found.images and path != normal]
    if others:
        raise InputError(
            f"{printable(train)}: holds normal images only, in {NORMAL} or in itself; found the "
            f"folder {printable(others[0].name)}: if its images are normal, they belong in "
            f"{printable(train / NORMAL)}; if they show a defect, in {printable(test)}/<defect>"
        )
    folder = train if normal is None else normal
    images = passed.add(scan(train) if normal is None else scans[normal])
    if not images:
        raise InputError(
            f"{printable(folder)}: no normal images; expected png, jpg, bmp, tiff or webp files"
            + (f"; found {printable(passed.others[0].name)}" if passed.others else "")
        )
    return folder, images


def _test_images(test: Path, passed: Scan) -> list[tuple[str, Path]]:
    """List the images of test with their defects, sorted by folder."""
    direct = passed.add(scan(test, deep=False))
    if direct:
        raise InputError(
            f"{printable(test)}: images must lie in a folder named by their defect, or in "
            f"{NORMAL}; found {printable(direct[0].name)}"
        )
    images = {path: passed.add(scan(path)) for path in subfolders(test)}
    normal = _one_normal([path for path in images if images[path] and is_normal_name(path.name)])
    return [
        (NORMAL if folder == normal else printable(folder.name), path)
        for folder, paths in images.items()
        for path in paths
    ]


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
