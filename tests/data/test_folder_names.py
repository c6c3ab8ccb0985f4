"""Files of any name are read, and folders whose names say normal."""

import os
import unicodedata

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
    "name",
    [
        b"gr\xfc\xdf.png",
        b"a\nb.png",
        b'a,"b" $HOME.png',
        b"-x.png",
        "ü漢字🙂.png".encode(),
        b"n" * 251 + b".png",
    ],
)
def test_a_file_of_any_name_is_read_under_a_name_that_can_be_printed(root, loaded, name):
    for place in ("train/good", "test/scratch"):
        (root / place / "0.png").rename(os.fsdecode(os.fsencode(root / place) + b"/" + name))
    mask = name[:-4] + (b"" if len(name) > 200 else b"_mask") + b".png"
    (root / "ground_truth/scratch/0_mask.png").rename(
        os.fsdecode(os.fsencode(root / "ground_truth/scratch") + b"/" + mask)
    )
    data = loaded(root)
    assert len(data.train) == 4
    assert data.has_masks
    assert not data.notes
    for split in (data.train, data.test):
        for i, printed in enumerate(split.names):
            assert printed.encode("utf-8")
            assert "\n" not in printed
            assert split[i].name == printed


def test_the_two_unicode_forms_of_an_accent_are_one_name(root, loaded):
    accent = "fenêtre"
    write(root / "test/scratch" / f"{unicodedata.normalize('NFD', accent)}.png")
    write_mask(root / "ground_truth/scratch" / f"{unicodedata.normalize('NFC', accent)}_mask.png")
    assert loaded(root).has_masks


# Folders of normal images


@pytest.mark.parametrize("name", ["OK", "Good", "normal", "defect-free", "NORMAL", "no_defect"])
def test_a_folder_that_says_normal_is_read_as_normal(root, loaded, name):
    (root / "train/good").rename(root / "train" / name)
    (root / "test/good").rename(root / "test" / name)
    data = loaded(root)
    assert len(data.train) == 4
    assert data.test.labels.sum() == 2
    assert data.test.defects.count("good") == 1
    assert f"images of {root / 'train' / name} and {root / 'test' / name} are read as normal" in (
        note(data)
    )


def test_another_word_for_normal_in_test_is_no_anomaly(root, loaded, refusal):
    write(root / "test/Good/9.png")
    line = refusal(root)
    assert "Good and good both say normal" in line
    (root / "test/good/0.png").unlink()
    data = loaded(root)
    assert data.test.labels.sum() == 2
    assert str(root / "test/Good") in note(data)


def test_two_normal_folders_in_train_are_refused(root, refusal):
    write(root / "train/OK/9.png")
    assert "OK and good both say normal" in refusal(root)


def test_the_advice_for_an_unknown_folder_in_train_leaves_both_ways_open(root, refusal):
    (root / "train/good").rename(root / "train/day1")
    line = refusal(root)
    assert "found the folder day1: if its images are normal, they belong in" in line
    assert "train/good; if they show a defect, in" in line
