"""The predict command: any readable image is scored, any other reported."""

import csv
import json

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="module")
def model(trained):
    """Give the finished run's folder."""
    return trained[0]


@pytest.fixture
def predict(command, model, tmp_path):
    """Score; give the outcome and the rows of scores.csv by name."""

    def predict(*inputs, flags=()):
        output = tmp_path / "out"
        names = ",".join(map(str, inputs))
        outcome = command(
            "predict", f"--workdir={model}", f"--input={names}", f"--output={output}", *flags
        )
        rows = list(csv.DictReader((output / "scores.csv").open()))
        return outcome, {row["name"]: row for row in rows}

    return predict


def test_images_of_every_format_are_scored_and_drawn(predict, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    ramp = np.linspace(0, 255, 48 * 40).reshape(48, 40)
    grey = Image.fromarray(ramp.astype(np.uint8))
    Image.fromarray((ramp * 257).astype(np.uint16)).save(folder / "sixteen_bits.png")
    for mode in ("L", "LA", "P", "RGB", "RGBA", "1"):
        grey.convert(mode).save(folder / f"{mode}.png")
    grey.convert("CMYK").save(folder / "cmyk.jpg")
    outcome, rows = predict(folder)
    assert outcome.code == 0, outcome
    assert outcome.err == ""
    assert len(rows) == 8
    assert "8 images scored, 0 could not be read" in outcome.out
    assert all(np.isfinite(float(row["anomaly_score_probability"])) for row in rows.values())
    # One picture, stored in several ways, has one score.
    scores = [
        float(rows[f"{name}.png"]["anomaly_score_probability"])
        for name in ("L", "LA", "RGB", "RGBA", "sixteen_bits")
    ]
    assert scores == pytest.approx([scores[0]] * 5, abs=1e-5)
    for name in rows:
        assert (tmp_path / "out" / f"{name}.png").stat().st_size > 0


def test_unreadable_images_are_reported_and_the_rest_go_on(predict, image, tmp_path):
    folder = tmp_path / "photos"
    image(folder / "good.png")
    (folder / "empty.png").touch()
    (folder / "text.jpg").write_text("no image")
    outcome, rows = predict(folder, flags=["--nopictures"])
    assert outcome.code == 1
    assert set(rows) == {"good.png"}
    lines = outcome.err.splitlines()
    assert len(lines) == 2
    assert f"{folder / 'empty.png'}: the file is empty" in lines[0]
    assert f"{folder / 'text.jpg'}: not an image" in lines[1]
    assert "1 images scored, 2 could not be read" in outcome.out


def test_where_no_image_can_be_read_the_table_is_empty(predict, tmp_path):
    (tmp_path / "empty.png").touch()
    outcome, rows = predict(tmp_path / "empty.png")
    assert (outcome.code, rows) == (1, {})


def test_decisions_follow_the_threshold_of_held_out_images(predict, model, image, tmp_path):
    calibration = json.loads((model / "calibration.json").read_text())["best"]["probability"]
    threshold = calibration["image_threshold"]
    image(tmp_path / "photos/noise.png")
    Image.new("RGB", (32, 32)).save(tmp_path / "photos/black.png")
    _, rows = predict(tmp_path / "photos", flags=["--nopictures"])
    assert len(rows) == 2
    for row in rows.values():
        called = "anomalous" if float(row["anomaly_score_probability"]) >= threshold else "normal"
        assert row["decision_probability"] == called
    assert rows["noise.png"]["decision_probability"] == "anomalous"


def test_a_score_depends_neither_on_the_other_images_nor_on_their_number(predict, image, tmp_path):
    for i in range(5):
        image(tmp_path / "photos" / f"{i}.png", i)
    _, together = predict(tmp_path / "photos", flags=["--nopictures"])
    _, alone = predict(tmp_path / "photos/3.png", flags=["--nopictures"])
    column = "anomaly_score_probability"
    assert float(alone["3.png"][column]) == pytest.approx(
        float(together["3.png"][column]), abs=1e-5
    )


def test_files_of_one_name_in_two_folders_are_told_apart(predict, image, tmp_path):
    image(tmp_path / "in/a/x.png", 1)
    image(tmp_path / "in/b/x.png", 2)
    image(tmp_path / "in/a_x.png", 3)
    outcome, rows = predict(
        tmp_path / "in/a", tmp_path / "in/b", tmp_path / "in/a_x.png", tmp_path / "in/a/x.png"
    )
    assert outcome.code == 0
    assert set(rows) == {"a/x.png", "b/x.png", "a_x.png"}
    assert len({row["anomaly_score_probability"] for row in rows.values()}) == 3
    pictures = [(tmp_path / "out" / f"{name}.png").read_bytes() for name in rows]
    assert len(set(pictures)) == 3


def test_results_inside_the_input_folder_are_not_scored_the_next_time(
    command, model, image, tmp_path
):
    image(tmp_path / "photos/x.png")
    arguments = (
        f"--workdir={model}",
        f"--input={tmp_path / 'photos'}",
        f"--output={tmp_path / 'photos/scored'}",
    )
    for _ in range(2):
        assert "1 images scored, 0 could not" in command("predict", *arguments).out


@pytest.mark.parametrize(
    ("path", "reason"),
    [("nothing.png", "no such file or folder"), ("empty", "the folder holds no image")],
)
def test_input_without_images_is_refused(mistake, model, tmp_path, path, reason):
    (tmp_path / "empty").mkdir()
    line = mistake(
        "predict",
        f"--workdir={model}",
        f"--input={tmp_path / path}",
        f"--output={tmp_path / 'out'}",
    )
    assert f"--input {tmp_path / path}: {reason}" in line
    assert not (tmp_path / "out").exists()


def test_an_output_that_cannot_be_used_is_refused(mistake, model, image, tmp_path):
    image(tmp_path / "photos/x.png")
    for output, reason in (("photos/x.png", "can be made"), ("photos", "other than")):
        line = mistake(
            "predict",
            f"--workdir={model}",
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
