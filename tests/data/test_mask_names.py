"""Every mask of a folder belongs to an image, or is named in one line."""

import numpy as np
import pytest
from PIL import Image


def write(path, size=(6, 5), seed=0, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return path


def write_mask(path, column=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((6, 5), np.uint8)
    pixels[2:4, column] = 255
    Image.fromarray(pixels).save(path)
    return path


def note(data):
    """Give the one note of a data set."""
    assert len(data.notes) == 1, data.notes
    return data.notes[0]


@pytest.mark.parametrize(
    "place",
    [
        "ground_truth/scratch/{}_gt.png",
        "ground_truth/scratch/mask_{}.png",
        "ground_truth/scratch/{}_MASK.PNG",
        "ground_truth/scratch/{}-label.bmp",
        "ground_truth/scratch/{}_seg.tif",
        "ground_truth/scratch/{}.png.png",
        "ground_truth/scratch/{}.gif",
        "ground_truth/scratch/{}_mask.webp",
        "ground_truth/scratch/{}/000.png",
        "ground_truth/Scratch/{}_mask.png",
        "Ground_Truth/scratch/{}_mask.png",
        "ground_truth/{}_mask.png",
    ],
)
def test_masks_are_matched_whatever_word_suffix_or_folder_they_have(root, loaded, place):
    for i in range(2):
        pixels = Image.open(root / f"ground_truth/scratch/{i}_mask.png")
        (root / f"ground_truth/scratch/{i}_mask.png").unlink()
        path = root / place.format(i)
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels.save(path, **({"lossless": True} if path.suffix == ".webp" else {}))
    if "Ground" in place:
        (root / "ground_truth/scratch").rmdir()
        (root / "ground_truth").rmdir()
    data = loaded(root)
    assert data.has_masks
    assert not data.notes
    for i in range(2):
        assert data.test[1 + i].mask[2:4, i].all()
        assert data.test[1 + i].mask.sum() == 2


def test_several_masks_of_one_image_are_joined_and_watched(root, loaded, tmp_path):
    (root / "ground_truth/scratch/0_mask.png").unlink()
    for column in (1, 3):
        write_mask(root / f"ground_truth/scratch/0/{column}.png", column)
    data = loaded(root)
    np.testing.assert_array_equal(data.test[1].mask.any(0), [False, True, False, True, False])
    write_mask(root / "ground_truth/scratch/0/3.png", 4)
    after = loaded(root)
    np.testing.assert_array_equal(after.test[1].mask.any(0), [False, True, False, False, True])
    assert after.fingerprint != data.fingerprint


def test_masks_that_belong_to_no_image_are_named_with_the_name_expected(root, loaded, refusal):
    write_mask(root / "ground_truth/scratch/7_mask.png")
    line = note(loaded(root))
    assert "1 of 3 masks in" in line
    assert "ground_truth/scratch/7_mask.png" in line
    (root / "ground_truth/scratch/1_mask.png").unlink()
    line = refusal(root)
    assert "1 of 2 anomalous images have no mask" in line
    assert "7_mask.png; a mask is named as its image, such as" in line
    assert line.endswith("ground_truth/scratch/1_mask.png")
    (root / "ground_truth/scratch/0_mask.png").unlink()
    assert "7_mask.png" in note(loaded(root))


def test_masks_without_folders_fit_by_name_only_where_one_image_has_it(root, loaded):
    write(root / "test/dent/0.png")
    for i in range(2):
        (root / f"ground_truth/scratch/{i}_mask.png").unlink()
    write_mask(root / "ground_truth/0_mask.png")
    data = loaded(root)
    assert not data.has_masks
    assert "ground_truth/0_mask.png" in note(data)


def test_one_mask_for_two_images_and_two_masks_for_one_image_are_refused(root, refusal):
    write(root / "test/scratch/0.jpg")
    line = refusal(root)
    assert f"{root}/test/scratch/0.jpg and 0.png share a name" in line
    (root / "test/scratch/0.jpg").unlink()
    write_mask(root / "ground_truth/scratch/0_mask.bmp")
    assert "0.png has several masks" in refusal(root)


def test_two_images_with_one_stem_and_a_mask_each_are_told_apart(root, loaded):
    write(root / "test/scratch/0.bmp")
    (root / "ground_truth/scratch/0_mask.png").unlink()
    write_mask(root / "ground_truth/scratch/0.png", 1)
    write_mask(root / "ground_truth/scratch/0.bmp", 2)
    data = loaded(root)
    assert data.test.names[1:3] == ["test/scratch/0.bmp", "test/scratch/0.png"]
    assert data.test[1].mask[2, 2]
    assert data.test[2].mask[2, 1]


def test_masks_among_the_images_are_named(root, loaded, refusal):
    write(root / "train/good/0_mask.png")
    line = note(loaded(root))
    assert "1 files are read as images and look like masks" in line
    assert "train/good/0_mask.png" in line


def test_an_anomalous_image_whose_mask_is_empty_is_named(root, loaded):
    Image.new("L", (5, 6)).save(root / "ground_truth/scratch/1_mask.png")
    for _ in range(2):  # Prepared, and found prepared.
        line = note(loaded(root))
        assert "1 of 2 anomalous images have a mask without any anomalous pixel" in line
        assert "test/scratch/1.png" in line


def test_masks_of_normal_images_may_be_there_and_must_be_empty(root, loaded):
    path = root / "ground_truth/good/0_mask.png"
    path.parent.mkdir()
    Image.new("L", (5, 6)).save(path)
    assert not loaded(root).notes
    write_mask(path)
    assert "1 masks of normal images mark anomalies" in note(loaded(root))
