"""Which mask belongs to which image, by the names of both."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from jaxflow.data.image_file import printable
from jaxflow.errors import InputError

_WORDS = "masks?|gt|ground_?truth|labels?|seg|segmentation|anno|annotations?|bitmask"
_BEFORE = re.compile(rf"(?:{_WORDS})[-_. ]+(.+)", re.IGNORECASE)
_AFTER = re.compile(rf"(.+?)[-_. ]+(?:{_WORDS})", re.IGNORECASE)

# A place is a file's path below test or ground_truth, such as "scratch/000.png".
_Places = dict[Path, PurePosixPath]
# A name of an image, and the name of its mask, which is equal.
_Rule = tuple[Callable[[PurePosixPath], str], Callable[[PurePosixPath], str]]


def bare_stem(stem: str) -> str:
    """Strip one word that names a mask: "000" of "000_mask", "000-GT" and "label_000"."""
    match = _AFTER.fullmatch(stem) or _BEFORE.fullmatch(stem)
    return match[1] if match else stem


# The best fit comes first.
_NAMES: Sequence[_Rule] = (
    (lambda image: f"{image.stem}_mask", lambda mask: mask.stem),
    (lambda image: image.name, lambda mask: mask.name),
    (lambda image: image.stem, lambda mask: mask.stem),
    (lambda image: image.name, lambda mask: bare_stem(mask.stem)),
    (lambda image: image.stem, lambda mask: bare_stem(mask.stem)),
)
# A folder of masks for each image, all of which count.
_REGIONS: Sequence[_Rule] = ((lambda image: image.stem, lambda mask: mask.parent.name),)


def match_masks(
    images: Sequence[Path], image_root: Path, masks: Sequence[Path], mask_root: Path
) -> tuple[dict[Path, list[Path]], list[Path]]:
    """Give each image its masks.

    A mask lies at its image's place and has its name, with `_mask` or another such word after or
    before it, or without. Its suffix does not matter, nor the Unicode form of an accent, nor, where
    only one name fits, upper and lower case. Masks may also lie in a folder named as their image.
    Where `mask_root` lacks the folder of an image, its mask is looked for in the nearest folder
    above.

    Each mask belongs to the image that it fits best. Where that image has a better one, or another
    image is as good, the mask is not given to any.

    Args:
      images: n files below image_root.
      image_root: holds a folder for each defect.
      masks: files below mask_root.
      mask_root: holds the same folders.

    Returns:
      The masks of each image that has any; and the masks that belong to no image.

    Raises:
      InputError: if one mask fits several images of a folder, or several masks fit one image.
    """
    image_places = {path: _place(path, image_root) for path in images}
    folders = _with_parents(image_places)
    mask_places = _as_spelled({path: _place(path, mask_root) for path in masks}, folders)
    mask_folders = _with_parents(mask_places)
    images_in = _grouped(image_places, lambda place: place.parent)
    masks_in = _grouped(mask_places, lambda place: place.parent)
    regions = {path: place for path, place in mask_places.items() if place.parent not in folders}
    regions_in = _grouped(regions, lambda place: place.parent.parent)
    matched: dict[Path, list[Path]] = {}
    for folder in sorted(folders):
        images_here, masks_here = images_in[folder], masks_in[folder]
        for owners, found in _fits(images_here, masks_here, _NAMES):
            if not all(path in matched for path in owners):
                _require_one(owners, found)
                matched[owners[0]] = found
        for owners, found in _fits(images_here, regions_in[folder], _REGIONS):
            if not all(path in matched for path in owners):
                _require_one(owners, found[:1])
                matched[owners[0]] = found
        if not masks_here:
            continue
        # What fits an image of the folder itself is gone; the rest must fit one below it only.
        below = {path: place for path, place in image_places.items() if folder in place.parents}
        for owners, found in _fits(below, masks_here, _NAMES[-1:]):
            nearest = next(f for f in image_places[owners[0]].parents if f in mask_folders)
            if len(owners) == len(found) == 1 and nearest == folder:
                matched[owners[0]] = found
    given = {mask for found in matched.values() for mask in found}
    return matched, sorted(set(masks) - given)


def _fits(
    images: _Places, masks: _Places, rules: Sequence[_Rule]
) -> Iterator[tuple[list[Path], list[Path]]]:
    """Take masks out, each with all the images that it fits best; the case counts at first."""
    for of_image, of_mask in (*rules, *map(_without_case, rules)):
        if not masks:
            return
        owners, found = _grouped(images, of_image), _grouped(masks, of_mask)
        for name in [name for name in owners if name in found]:
            for path in found[name]:
                del masks[path]
            yield list(owners[name]), list(found[name])


def _without_case(rule: _Rule) -> _Rule:
    of_image, of_mask = rule
    return lambda image: of_image(image).casefold(), lambda mask: of_mask(mask).casefold()


def _require_one(images: Sequence[Path], masks: Sequence[Path]) -> None:
    if len(images) > 1:
        raise InputError(
            f"{printable(images[0])} and {printable(images[1].name)} share a name, so the mask "
            f"{printable(masks[0])} fits both; name each mask after the whole name of its image, "
            f"such as {printable(images[0].name)}_mask.png"
        )
    if len(masks) > 1:
        raise InputError(
            f"{printable(images[0])} has several masks, {printable(masks[0])} and "
            f"{printable(masks[1].name)}; keep one, or put them into a folder "
            f"{printable(images[0].stem)} that holds a mask for each region"
        )


def _place(path: Path, root: Path) -> PurePosixPath:
    # macOS writes an accent as a character of its own, other systems do not.
    return PurePosixPath(unicodedata.normalize("NFC", path.relative_to(root).as_posix()))


def _grouped(places: _Places, key: Callable[[PurePosixPath], Any]) -> dict[Any, _Places]:
    groups: dict[Any, _Places] = defaultdict(dict)
    for path, place in places.items():
        groups[key(place)][path] = place
    return groups


def _with_parents(places: _Places) -> set[PurePosixPath]:
    """Give the folders of files, and all folders above these."""
    return {folder for place in places.values() for folder in place.parents}


def _as_spelled(masks: _Places, folders: set[PurePosixPath]) -> _Places:
    """Spell the folders of masks as those of images, where one differs by case only."""
    alike: dict[str, list[PurePosixPath]] = defaultdict(list)
    for folder in folders:
        alike[folder.as_posix().casefold()].append(folder)

    def spelled(folder: PurePosixPath) -> PurePosixPath:
        if folder in folders:
            return folder
        same = alike.get(folder.as_posix().casefold(), [])
        return same[0] if len(same) == 1 else folder

    places = {}
    for path, place in masks.items():
        folder = spelled(place.parent)
        if folder not in folders:  # The folder of one image.
            folder = spelled(folder.parent) / folder.name
        places[path] = folder / place.name
    return places
