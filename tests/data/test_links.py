"""A link brings no image of another part in; each folder is read once, however deep."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxflow.data import builder, loading
from jaxflow.data.scan import scan
from jaxflow.experiments.inputs import find_images


def write(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 5, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def link(path, target):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)
    return path


def names(data):
    return data.train.names + data.test.names


# Data sets


@pytest.mark.parametrize(
    ("place", "target", "reason"),
    [
        ("train/good/all", "../..", "a link to a folder above it"),
        ("train/good/all", "../../..", "a link to a folder above it"),
        ("train/good/all", "/", "a link to a folder above it"),
        ("test/good/all", "..", "a link to a folder above it"),
        ("ground_truth/all", "..", "a link to a folder above it"),
        ("old", "..", "a link to a folder above it"),
        ("train/all", ".", "a link to a folder above it"),
        ("test/scratch/x", "../../train/good", "a link to a folder that is read already"),
        ("test/scratch/x", "../good", "a link to a folder that is read already"),
        ("test/normal", "good", "a link to a folder that is read already"),
        ("train/good/x", "../../test/scratch", "a link to a folder that is read already"),
        ("train/good/x", "../../ground_truth", "a link to a folder that is read already"),
        ("copy", "train", "a link to a folder that is read already"),
    ],
)
def test_a_link_into_another_part_or_above_is_named_and_not_followed(
    root, loaded, place, target, reason
):
    before = loaded(root)
    path = link(root / place, target)
    data = loaded(root)
    assert names(data) == names(before)
    assert data.fingerprint == before.fingerprint
    assert data.notes == (f"passed over: {path} is {reason}",)


def test_the_same_holds_where_the_parts_themselves_are_links(root, loaded, tmp_path):
    before = loaded(root)
    root.rename(tmp_path / "store")
    for part in ("train", "test", "ground_truth"):
        link(root / part, tmp_path / "store" / part)
    link(tmp_path / "store/train/good/above", "../..")
    link(tmp_path / "store/train/good/beside", "../../test/scratch")
    data = loaded(root)
    assert names(data) == names(before)
    assert len(data.notes) == 2


@pytest.mark.parametrize(("place", "target"), [("train", "."), ("train/good", "../test/good")])
def test_a_part_that_is_such_a_link_is_refused_by_name(root, refusal, place, target):
    (root / place).rename(root.parent / "gone")
    assert f"passed over: {link(root / place, target)} is a link to" in refusal(root)


def test_a_link_to_a_folder_of_the_set_that_is_no_part_is_followed(root, loaded):
    before = loaded(root)
    (root / "train/good").rename(root / "pool")
    link(root / "train/good", "../pool")
    data = loaded(root)
    assert names(data) == names(before)
    assert not data.notes


@pytest.mark.parametrize(
    ("first", "second"),
    [("train/good/new", "test/good/new"), ("test/good/new", "train/good/deeper/new")],
)
def test_a_folder_that_two_parts_link_to_is_read_once(root, loaded, tmp_path, first, second):
    write(tmp_path / "elsewhere/0.png")
    for place in (second, first):
        link(root / place, tmp_path / "elsewhere")
    data = loaded(root)
    assert [name for name in names(data) if "new" in name] == [f"{first}/0.png"]
    assert data.notes == (
        f"passed over: {root / second} is a link to a folder that is read already",
    )


def test_a_hidden_link_is_not_followed(root, loaded, tmp_path):
    write(tmp_path / "elsewhere/0.png")
    link(root / "train/good/.elsewhere", tmp_path / "elsewhere")
    assert not loaded(root).notes


def test_a_file_in_train_and_in_test_is_counted(root, loaded):
    link(root / "test/good/7.png", "../../train/good/2.png")
    link(root / "test/good/8.png", "../../train/good/3.png")
    data = loaded(root)
    assert data.test.names[1:3] == ["test/good/7.png", "test/good/8.png"]
    assert data.notes == (
        "2 images of test are also in train, the first is test/good/7.png, the same file as "
        "train/good/2.png",
    )


def test_a_file_that_is_normal_and_anomalous_is_counted(root, loaded):
    os.link(root / "test/scratch/1.png", root / "test/good/1.png")
    data = loaded(root)
    assert data.notes == (
        "1 images of test are both anomalous and normal, the first is test/scratch/1.png, the same "
        "file as test/good/1.png",
    )


# Depth


@pytest.fixture
def deep(tmp_path, monkeypatch):
    """Give a folder with an image 1,000 folders below; they are removed after the test."""
    monkeypatch.chdir(tmp_path)
    for _ in range(1000):
        os.mkdir("d")
        os.chdir("d")
    write(Path("x.png"))
    bottom = os.open(".", os.O_RDONLY)
    monkeypatch.chdir(tmp_path)
    yield tmp_path / "d"
    # What removes the folders of tests goes down by recursion.
    os.chdir(bottom)
    os.close(bottom)
    os.unlink("x.png")
    for _ in range(999):
        os.chdir("..")
        os.rmdir("d")


def test_folders_are_read_however_deep_they_are(root, loaded, deep):
    deep = deep.rename(root / "train/good/d")
    assert loaded(root).train.names[-1] == f"train/good/{'d/' * 1000}x.png"
    deep = deep.rename(root / "old")
    assert f"not used: 1, the first is {root / 'old'}" in loaded(root).notes[0]
    deep.rename(root / "train/good/.hidden")
    assert "1 image passed over in hidden files" in loaded(root).notes[0]


# Files that go away or cannot be read


@pytest.mark.parametrize("path", ["train/good/1.png", "ground_truth/scratch/0_mask.png"])
@pytest.mark.parametrize("stage", ["listed", "checked"])
def test_a_file_that_goes_away_is_named(root, refusal, monkeypatch, path, stage):
    prepare, check = loading.prepare, builder.check_records

    def prepare_without(*arguments):
        (root / path).unlink()
        return prepare(*arguments)

    def check_and_remove(listing):
        checked = check(listing)
        (root / path).unlink()
        return checked

    if stage == "listed":
        monkeypatch.setattr(loading, "prepare", prepare_without)
    else:
        monkeypatch.setattr(builder, "check_records", check_and_remove)
    assert refusal(root) == f"{root / path}: cannot be read: No such file or directory"


def test_a_file_that_goes_away_while_a_folder_is_read_is_passed_over(root, monkeypatch):
    listed = Path.iterdir
    path = root / "train/good/1.png"

    def vanishing(folder):
        entries = list(listed(folder))
        path.unlink(missing_ok=True)
        return iter(entries)

    monkeypatch.setattr(Path, "iterdir", vanishing)
    found = scan(root / "train/good")
    assert path not in found.images
    assert found.broken == [(path, "gone since it was listed")]


def test_what_may_not_be_read_is_refused(root, refusal, monkeypatch):
    stat = os.stat

    def denied(path, **options):
        if os.fspath(path) == str(root / "test/scratch/0.png"):
            raise PermissionError(13, "Permission denied", path)
        return stat(path, **options)

    monkeypatch.setattr(os, "stat", denied)
    assert refusal(root) == f"{root}/test/scratch/0.png: cannot be read: Permission denied"


# Names


def test_a_category_of_any_name_is_listed_in_one_line(root, refusal):
    (root.parent / "top").mkdir()
    root.rename(root.parent / "top/a\nb")
    assert refusal(root.parent / "top", category="c").endswith(r"there are a\nb")


@pytest.mark.parametrize("upper", [("train", "TRAIN"), ("train/good", "train/GOOD")])
def test_upper_case_folders_are_read(root, loaded, upper):
    (root / upper[0]).rename(root / upper[1])
    assert len(loaded(root).train) == 4


# Predict


def found_in(root, *inputs, output="out"):
    paths = find_images([str(root / path) for path in inputs], root / output)
    return [path.relative_to(root).as_posix() for path in paths]


def lines(capsys):
    return [
        line.removeprefix("jaxflow: WARNING: ") for line in capsys.readouterr().err.splitlines()
    ]


def test_predict_does_not_follow_a_link_above_its_input(tmp_path, capsys):
    write(tmp_path / "in/a.png")
    write(tmp_path / "other.png")
    link(tmp_path / "in/up", "..")
    assert found_in(tmp_path, "in") == ["in/a.png"]
    assert lines(capsys) == [f"passed over: {tmp_path}/in/up is a link to a folder above it"]


def test_predict_names_links_that_lead_to_its_results(tmp_path, capsys):
    write(tmp_path / "in/a.png")
    write(tmp_path / "out/sub/a.png.png")
    (tmp_path / "out/scores.csv").write_text("name")
    link(tmp_path / "in/results", "../out/sub")
    link(tmp_path / "in/z.png", "../out/sub/a.png.png")
    assert found_in(tmp_path, "in") == ["in/a.png"]
    assert lines(capsys) == [
        f"passed over: {tmp_path}/in/results/a.png.png is a link to a result in the output folder "
        "(2 such paths, this is the first)"
    ]


def test_predict_does_not_speak_of_results_in_its_input(tmp_path, capsys):
    write(tmp_path / "in/a.png")
    write(tmp_path / "in/out/a.png.png")
    write(tmp_path / "in/out/.parts/b.png")
    (tmp_path / "in/out/scores.csv").write_text("name")
    link(tmp_path / "in/out/nowhere", "gone")
    assert found_in(tmp_path, "in", output="in/out") == ["in/a.png"]
    assert not lines(capsys)


def test_predict_reads_a_folder_once_and_each_name_of_an_image(tmp_path, capsys):
    write(tmp_path / "in/sub/a.png")
    link(tmp_path / "in/sub/b.png", "a.png")
    link(tmp_path / "again", "in")
    link(tmp_path / "in/twice", "sub")
    inputs = ("in/sub/a.png", "in", "again", "again/sub/b.png")
    assert found_in(tmp_path, *inputs) == ["in/sub/a.png", "in/sub/b.png"]
    assert "in/twice is a link to a folder that is read already" in lines(capsys)[0]


def test_predict_says_why_a_folder_holds_no_image(tmp_path):
    write(tmp_path / "in/.hidden/a.png")
    with pytest.raises(ValueError, match=r"holds no image; 1 image passed over in hidden files"):
        found_in(tmp_path, "in")


def test_predict_refuses_an_input_below_its_output(tmp_path):
    write(tmp_path / "out/sub/a.png")
    with pytest.raises(ValueError, match=r"out: give a folder other than that of --input"):
        found_in(tmp_path, "out/sub")
