"""The predict command: any readable image is scored, any other reported."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import jaxflow
from jaxflow.experiments.inputs import find_images, name_images

SAME = ("L.png", "LA.png", "RGB.png", "RGBA.png", "sixteen_bits.png", "sub/RGB.png")
OTHERS = ("1.png", "P.png", "cmyk.jpg", "noise.png")


def write_photos(folder):
    """Write one picture in many formats, noise, and files that are no images."""
    (folder / "sub").mkdir(parents=True)
    ramp = np.linspace(0, 255, 48 * 40).reshape(48, 40).astype(np.uint8)
    Image.fromarray(ramp.astype(np.uint16) * 257).save(folder / "sixteen_bits.png")
    grey = Image.fromarray(ramp)
    for mode in ("L", "LA", "P", "RGB", "RGBA", "1"):
        grey.convert(mode).save(folder / f"{mode}.png")
    grey.convert("RGB").save(folder / "sub/RGB.png")
    grey.convert("CMYK").save(folder / "cmyk.jpg")
    (folder / "empty.png").touch()
    (folder / "text.jpg").write_text("no image")
    return folder


def read_rows(output):
    """Return the rows of scores.csv by name."""
    rows = csv.DictReader(io.StringIO((output / "scores.csv").read_text()))
    return {row["name"]: row for row in rows}


@pytest.fixture(scope="module")
def scored(command, trained, image, tmp_path_factory):
    """Score a folder; give the folder, the one above it, and what the command said."""
    root = tmp_path_factory.mktemp("scored")
    photos = write_photos(root / "photos")
    image(photos / "noise.png")
    outcome = command(
        "predict",
        f"--workdir={trained[0]}",
        f"--input={photos / 'sub'},{photos}",
        f"--output={root / 'out'}",
    )
    return root, outcome


def test_images_of_every_format_are_scored_and_drawn(scored):
    root, outcome = scored
    assert "10 images scored, 2 could not be read" in outcome.out
    rows = read_rows(root / "out")
    assert set(rows) == {*SAME, *OTHERS}
    for name, row in rows.items():
        assert np.isfinite(float(row["anomaly_score_probability"]))
        assert (root / "out" / f"{name}.png").stat().st_size > 0


def test_one_picture_in_several_formats_has_one_score(scored):
    rows = read_rows(scored[0] / "out")
    scores = [float(rows[name]["anomaly_score_probability"]) for name in SAME]
    assert scores == pytest.approx([scores[0]] * len(SAME), abs=1e-5)
    assert float(rows["noise.png"]["anomaly_score_probability"]) != pytest.approx(scores[0], 1e-3)


def test_unreadable_images_are_reported_while_the_rest_go_on(scored):
    root, outcome = scored
    assert outcome.code == 1
    empty, text = outcome.err.splitlines()
    assert f"{root / 'photos/empty.png'}: the file is empty" in empty
    assert f"{root / 'photos/text.jpg'}: not an image" in text


def test_decisions_follow_the_threshold_of_held_out_images(scored, trained):
    threshold = (
        jaxflow.load(trained[0]).selections["best"].calibrations["probability"].image_threshold
    )
    for row in read_rows(scored[0] / "out").values():
        above = float(row["anomaly_score_probability"]) >= threshold
        assert row["decision_probability"] == ("anomalous" if above else "normal")


def test_where_no_image_can_be_read_the_table_is_empty(command, trained, tmp_path):
    (tmp_path / "empty.png").touch()
    outcome = command(
        "predict",
        f"--workdir={trained[0]}",
        f"--input={tmp_path / 'empty.png'}",
        f"--output={tmp_path / 'out'}",
    )
    assert (outcome.code, read_rows(tmp_path / "out")) == (1, {})


def test_images_are_named_by_their_path_below_the_folder_they_share():
    paths = [Path(p) for p in ("in/a/x.png", "../in/b/x.png", "in/a_x.png")]
    names = name_images(paths)
    assert len(set(names.values())) == 3
    assert names[paths[0]].endswith("in/a/x.png")
    assert name_images([Path("in/a/x.png"), Path("in/b/x.png")]) == {
        Path("in/a/x.png"): "a/x.png",
        Path("in/b/x.png"): "b/x.png",
    }
    assert name_images([Path("in/a/x.png")]) == {Path("in/a/x.png"): "x.png"}


def test_an_image_is_found_once_and_no_result_of_before_is_found(image, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image(tmp_path / "in/x.png")
    image(tmp_path / "in/scored/x.png.png")
    found = find_images(["in", "./in/x.png"], Path("in/scored"))
    assert [path.name for path in found] == ["x.png"]


@pytest.mark.parametrize(
    ("path", "reason"),
    [("nothing.png", "no such file or folder"), ("empty", "the folder holds no image")],
)
def test_input_without_images_is_refused(mistake, trained, tmp_path, path, reason):
    (tmp_path / "empty").mkdir()
    line = mistake(
        "predict",
        f"--workdir={trained[0]}",
        f"--input={tmp_path / path}",
        f"--output={tmp_path / 'out'}",
    )
    assert f"--input {tmp_path / path}: {reason}" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("output", "reason"), [("photos/x.png", "can be made"), ("photos", "other than")]
)
def test_an_output_that_cannot_be_used_is_refused(
    mistake, trained, image, tmp_path, output, reason
):
    image(tmp_path / "photos/x.png")
    line = mistake(
        "predict",
        f"--workdir={trained[0]}",
        f"--input={tmp_path / 'photos'}",
        f"--output={tmp_path / output}",
    )
    assert f"--output {tmp_path / output}" in line
    assert reason in line


def test_predicting_without_a_run_says_how_to_get_one(mistake, image, tmp_path):
    image(tmp_path / "x.png")
    line = mistake(
        "predict",
        f"--workdir={tmp_path / 'none'}",
        f"--input={tmp_path / 'x.png'}",
        f"--output={tmp_path / 'out'}",
    )
    assert "python -m jaxflow.train" in line
