"""A mask goes to its own image, or to none: random trees of images and masks, and hard cases."""

import random
from pathlib import Path

import pytest

from jaxflow.data.layouts import pair_masks
from jaxflow.data.mask_names import match_masks
from jaxflow.errors import InputError

IMAGES, MASKS = Path("/set/test"), Path("/set/ground_truth")
# Where the masks of an image lie, by the rules that the documentation gives.
RULES = {
    "_mask": lambda i: [i.parent / f"{i.stem}_mask.png"],
    "same name": lambda i: [i],
    "same stem": lambda i: [i.parent / f"{i.stem}.png"],
    "word after": lambda i: [i.parent / f"{i.stem}-GT.png"],
    "word before": lambda i: [i.parent / f"label_{i.stem}.png"],
    "whole name": lambda i: [i.parent / f"{i.name}.png"],
    "whole name and word": lambda i: [i.parent / f"{i.name}_mask.png"],
    "upper case": lambda i: [i.parent / f"{i.stem}_MASK.PNG"],
    "folder in upper case": lambda i: [Path(str(i.parent).upper(), f"{i.stem}_mask.png")],
    "folder of the image": lambda i: [i.parent / i.stem / f"{n}.png" for n in range(2)],
    "folder of the defect": lambda i: [Path(i.parts[0], f"{i.stem}_mask.png")],
    "no folder": lambda i: [Path(f"{i.stem}_mask.png")],
}
IN_PLACE = [name for name in RULES if name not in ("folder of the defect", "no folder")]


def match(images, masks):
    """Match relative paths; give the masks of each image, and those of none."""
    matched, unmatched = match_masks(
        sorted(IMAGES / path for path in images),
        IMAGES,
        sorted(MASKS / path for path in masks),
        MASKS,
    )
    return (
        {
            image.relative_to(IMAGES).as_posix(): [
                mask.relative_to(MASKS).as_posix() for mask in found
            ]
            for image, found in matched.items()
        },
        [mask.relative_to(MASKS).as_posix() for mask in unmatched],
    )


def accepted(images, masks):
    """Give the masks of each image, as a data set reads them; None where it is refused."""
    images = sorted(IMAGES / path for path in images)
    try:
        matched, _ = pair_masks(images, IMAGES, sorted(MASKS / path for path in masks), MASKS)
    except InputError:
        return None
    return matched if len(matched) in (0, len(images)) else None


def is_right(matched, owners):
    return all(
        owners[mask.relative_to(MASKS)] == image.relative_to(IMAGES)
        for image, masks in matched.items()
        for mask in masks
    )


def draw(rng, *, folders=("s", "t", "s/a", "s/b", "s/a/c"), stems="01", suffixes=(".png", ".jpg")):
    """Draw up to 6 images."""
    names = [f"{stem}{suffix}" for stem in stems for suffix in suffixes]
    return sorted({Path(rng.choice(folders), rng.choice(names)) for _ in range(rng.randint(2, 6))})


def owners_of(images, rule_of):
    """Name the masks of images; None where two would have one name."""
    pairs = [(mask, image) for image in images for mask in RULES[rule_of(image)](image)]
    owners = dict(pairs)
    return owners if len(owners) == len(pairs) else None


def test_masks_named_by_any_mixture_of_rules_are_right_or_refused():
    right = refused = 0
    for seed in range(2000):
        rng = random.Random(seed)
        images = draw(rng, folders=("s", "S", "t", "s/a", "s/b"), stems=("0", "1", "a", "A"))
        owners = owners_of(images, lambda image, rng=rng: rng.choice(list(RULES)))
        if owners is None:
            continue
        matched = accepted(images, owners)
        assert matched is None or is_right(matched, owners), seed
        right += matched is not None
        refused += matched is None
    assert right > refused > 100


@pytest.mark.parametrize("rule", RULES)
def test_masks_named_by_one_rule_are_all_found(rule):
    trees = 0
    for seed in range(300):
        rng = random.Random(seed)
        images = draw(rng)
        owners = owners_of(images, lambda image: rule)
        if owners is None or len({(path.parent, path.stem) for path in images}) < len(images):
            continue
        matched, unmatched = match(images, owners)
        assert not unmatched
        assert {
            Path(mask): Path(image) for image, found in matched.items() for mask in found
        } == owners
        trees += 1
    assert trees > 20


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("lost", ["images", "masks"])
def test_where_images_or_masks_are_lost_no_mask_goes_to_another_image(rule, lost):
    for seed in range(300):
        rng = random.Random(seed)
        images = draw(rng)
        owners = owners_of(images, lambda image: rule)
        if owners is None:
            continue
        kept = images if lost == "masks" else rng.sample(images, len(images) - 1)
        masks = list(owners) if lost == "images" else rng.sample(list(owners), len(owners) - 1)
        matched = accepted(kept, masks)
        assert matched is None or is_right(matched, owners), seed


@pytest.mark.parametrize("rule", IN_PLACE)
def test_where_both_are_lost_a_mask_goes_to_no_image_of_another_folder(rule):
    for seed in range(500):
        rng = random.Random(seed)
        images = draw(rng, folders=("s/a", "s/b", "t/a", "t/b"), stems="012", suffixes=(".png",))
        owners = owners_of(images, lambda image: rule)
        kept = rng.sample(images, rng.randint(1, len(images)))
        masks = rng.sample(list(owners), rng.randint(1, len(owners)))
        matched, _ = match(kept, masks)
        assert is_right(
            {IMAGES / image: [MASKS / mask for mask in found] for image, found in matched.items()},
            owners,
        ), seed


# Hard cases


@pytest.mark.parametrize(
    ("images", "masks", "expected"),
    [
        # Another folder of the same defect.
        (["s/a/0.png", "s/b/0.png"], ["s/a/0_mask.png"], {"s/a/0.png": ["s/a/0_mask.png"]}),
        (["s/b/0.png"], ["s/a/0_mask.png"], {}),
        (["s/0.png"], ["s/a/0_mask.png"], {}),
        (["s/b/0.png", "s/b/1.png"], ["s/0.png", "s/b/1.png"], {"s/b/1.png": ["s/b/1.png"]}),
        # A second mask of one image does not fall to another.
        (["s/0.png", "s/b/0.png"], ["s/0_mask.png", "s/0.gif"], {"s/0.png": ["s/0_mask.png"]}),
        (["s/0.png", "t/0.png"], ["s/0.png", "0_mask.png"], {"s/0.png": ["s/0.png"]}),
        (["s/A.png", "s/a.png"], ["s/A_mask.png", "s/A_gt.png"], {"s/A.png": ["s/A_mask.png"]}),
        # A name that several images below a folder have.
        (["s/a/0.png", "s/b/0.png"], ["s/0_mask.png"], {}),
        (["s/a/0.png", "t/0.png"], ["0_mask.png"], {}),
        # A folder of images is no folder of regions.
        (["s/0.png", "s/0/1.png"], ["s/0/2.png"], {}),
        # Spelling: the exact name comes first.
        (["S/0.png", "s/0.png"], ["s/0_mask.png"], {"s/0.png": ["s/0_mask.png"]}),
        (["s/0.png"], ["S/0_mask.png"], {"s/0.png": ["S/0_mask.png"]}),
        (["S/0.png", "s/1.png"], ["S/1_mask.png"], {}),
    ],
)
def test_a_mask_goes_to_the_image_that_it_fits_best_or_to_none(images, masks, expected):
    matched, unmatched = match(images, masks)
    assert matched == expected
    assert unmatched == sorted(set(masks) - {mask for found in expected.values() for mask in found})


@pytest.mark.parametrize("form", ["{}", "{}.png", "{}_mask.png", "label-{}.bmp"])
def test_images_that_differ_by_suffix_or_case_have_their_own_masks(form):
    names = ["0.jpg", "0.png", "A.png", "a.png"]
    masks = {f"s/{name}": [f"s/{form}".format(name)] for name in names}
    matched, unmatched = match(masks, [mask for found in masks.values() for mask in found])
    assert matched == masks
    assert not unmatched


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        (["s/0.jpg", "s/0.png"], ["s/0_mask.png"]),
        (["s/0.jpg", "s/0.png"], ["s/0.png", "s/0_mask.png"]),
        (["s/0.jpg", "s/0.png"], ["s/0/1.png", "s/0/2.png"]),
        (["s/0.png"], ["s/0_mask.png", "s/0_mask.bmp"]),
    ],
)
def test_a_mask_that_fits_two_images_or_a_second_as_good_is_refused(images, masks):
    with pytest.raises(InputError, match=r"share a name|has several masks"):
        match(images, masks)


def test_a_mask_among_those_of_a_folder_above_is_named():
    def notes(masks):
        images = [IMAGES / "s/0.png", IMAGES / "s/b/1.png"]
        return pair_masks(images, IMAGES, [MASKS / mask for mask in masks], MASKS)[1]

    assert notes(["s/0.png", "s/1.png"]) == [
        f"1 of 2 masks lie in a folder above that of their image, among others, the first is "
        f"{MASKS}/s/1.png, which is read as the mask of {IMAGES}/s/b/1.png"
    ]
    assert notes(["s/0.png", "s/b/1.png"]) == []
    assert notes(["0.png", "1.png"]) == []
