"""Which mask belongs to which image, by the names of both."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from jaxflow.data.image_file import printable
from jaxflow.errors import InputError

_WORDS = "masks?|gt|ground_?truth|labels?|seg|segmentation|anno|annotations?|bitmask"
_BEFORE = re.compile(rf"(?:{_WORDS})[-_. ]+(.+)", re.IGNORECASE)
_AFTER = re.compile(rf"(.+?)[-_. ]+(?:{_WORDS})", re.IGNORECASE)

# A place is a file's path below test or ground_truth, such as "scratch/000.png".
_Key = tuple[str, ...]
_Rule = tuple[Callable[[PurePosixPath], _Key], Callable[[PurePosixPath], _Key]]


def bare_stem(stem: str) -> str:
    """Strip one word that names a mask: "000" of "000_mask", "000-GT" and "label_000"."""
    match = _AFTER.fullmatch(stem) or _BEFORE.fullmatch(stem)
    return match[1] if match else stem


def _folder(place: PurePosixPath) -> str:
    return place.parent.as_posix()


def _low(*parts: str) -> _Key:
    return tuple(part.casefold() for part in parts)


# The key of an image and the key of its mask are equal. The first rule that finds a mask counts.
_EXACT: Sequence[_Rule] = (
    (lambda i: (_folder(i), f"{i.stem}_mask"), lambda m: (_folder(m), m.stem)),
    (lambda i: (_folder(i), i.name), lambda m: (_folder(m), m.name)),
    (lambda i: (_folder(i), i.stem), lambda m: (_folder(m), m.stem)),
    (lambda i: _low(_folder(i), i.name), lambda m: _low(_folder(m), bare_stem(m.stem))),
    (lambda i: _low(_folder(i), i.stem), lambda m: _low(_folder(m), bare_stem(m.stem))),
)
# A folder of masks for each image, all of which count.
_MANY: Sequence[_Rule] = (
    (lambda i: _low(i.with_suffix("").as_posix()), lambda m: _low(_folder(m))),
)
# Other folders than the image's: these count where they fit one image only.
_LOOSE: Sequence[_Rule] = (
    (lambda i: _low(i.parts[0], i.stem), lambda m: _low(m.parts[0], bare_stem(m.stem))),
    (lambda i: _low(i.stem), lambda m: _low(bare_stem(m.stem)) if len(m.parts) == 1 else ()),
)


def match_masks(
    images: Sequence[Path], image_root: Path, masks: Sequence[Path], mask_root: Path
) -> tuple[dict[Path, list[Path]], list[Path]]:
    """Give each image its masks.

    A mask lies at its image's place and has its name, with `_mask` or another such word after or
    before it, or without. Its suffix does not matter, nor the Unicode form of an accent, nor, where
    only one name fits, upper and lower case. Masks may also lie in a folder named as their image,
    directly in the folder of the defect, or in `mask_root` itself.

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
    left = {path: _place(path, mask_root) for path in masks}
    matched: dict[Path, list[Path]] = {}
    for rules in (_EXACT, _MANY, _LOOSE):
        for rule in rules:
            waiting = {path: place for path, place in image_places.items() if path not in matched}
            for owners, found in _candidates(rule, waiting, left):
                if rules is _LOOSE and (len(owners) > 1 or len(found) > 1):
                    continue
                _require_one(owners, found if rules is _EXACT else found[:1])
                matched[owners[0]] = found
                for mask in found:
                    del left[mask]
    return matched, sorted(left)


def _candidates(
    rule: _Rule, images: Mapping[Path, PurePosixPath], masks: Mapping[Path, PurePosixPath]
) -> list[tuple[list[Path], list[Path]]]:
    """Group images and masks by their common key."""
    of_image, of_mask = rule
    groups: dict[_Key, list[Path]] = defaultdict(list)
    for path, place in masks.items():
        groups[of_mask(place)].append(path)
    owners: dict[_Key, list[Path]] = defaultdict(list)
    for path, place in images.items():
        owners[of_image(place)].append(path)
    return [(owners[key], groups[key]) for key in owners if key in groups]


def _require_one(images: Sequence[Path], masks: Sequence[Path]) -> None:
    if len(images) > 1:
        raise InputError(
            f"{printable(images[0])} and {printable(images[1].name)} share a name, so the mask "
            f"{printable(masks[0])} fits both; rename one image and its mask"
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
