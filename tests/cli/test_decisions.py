"""What decides: scores and thresholds chosen at evaluate and predict, and more epochs."""

import csv
import json

import numpy as np
import pytest

import jaxflow
from jaxflow.evaluation.calibration import Calibration, Decision, Quantiles, calibrate


def read_decisions(path):
    """Return (scores, decisions) of a scores.csv with one score."""
    with path.open() as file:
        rows = list(csv.DictReader(file))
    (score,) = (name for name in rows[0] if name.startswith("anomaly_score_"))
    decision = score.replace("anomaly_score_", "decision_")
    return [float(row[score]) for row in rows], [row[decision] for row in rows]


@pytest.fixture(scope="module")
def images(image, tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for i in range(4):
        image(folder / f"{i}.png", i)
    return folder


def predict(command, workdir, images, output, *arguments):
    given = [f"--workdir={workdir}", f"--input={images}", f"--output={output}", "--nopictures"]
    outcome = command("predict", *given, *arguments)
    assert outcome.code == 0, outcome
    return outcome, *read_decisions(output / "scores.csv")


def test_the_image_threshold_that_is_given_decides(command, trained, images, tmp_path):
    _, scores, _ = predict(command, trained[0], images, tmp_path / "a")
    middle = float(np.median(scores))
    _, again, decisions = predict(
        command, trained[0], images, tmp_path / "b", f"--image_threshold={middle!r}"
    )
    assert again == scores
    assert decisions == ["anomalous" if score >= middle else "normal" for score in scores]
    assert len(set(decisions)) == 2


def test_another_score_decides_without_training_again(command, trained, images, tmp_path):
    outcome, scores, _ = predict(command, trained[0], images, tmp_path / "nll", "--score=nll")
    threshold = jaxflow.load(trained[0]).selections["best"].calibrations["nll"].image_threshold
    assert f"image threshold {threshold:.4g}" in outcome.out
    _, other, _ = predict(command, trained[0], images, tmp_path / "probability")
    assert scores != other
    header = (tmp_path / "nll/scores.csv").read_text().splitlines()[0]
    assert header == "name,anomaly_score_nll,decision_nll"


def test_evaluate_uses_and_records_what_was_chosen(command, trained_copy):
    outcome = command(
        "evaluate",
        f"--workdir={trained_copy}",
        "--pictures=1",
        "--score=nll",
        "--image_threshold=0.25",
        "--pixel_threshold=0.5",
    )
    assert outcome.code == 0, outcome
    written = json.loads((trained_copy / "evaluation/metrics.json").read_text())
    chosen = {name: written["protocol"].get(name) for name in Decision._fields}
    assert chosen == {
        "score": "nll",
        "image_threshold": 0.25,
        "pixel_threshold": 0.5,
        "quantile": None,
    }
    by_score = {row["score"]: row["metrics"] for row in written["results"]}
    assert by_score["nll"]["image_threshold"] == 0.25
    assert by_score["nll"]["pixel_threshold"] == 0.5
    assert by_score["probability"]["image_threshold"] != 0.25
    assert "score nll" in (trained_copy / "evaluation/index.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--score=cflow"], ["--score cflow", "probability, nll"]),
        (["--image_threshold=nan"], ["--image_threshold", "finite"]),
        (["--pixel_threshold=inf"], ["--pixel_threshold", "finite"]),
        (["--quantile=1"], ["--quantile", "between 0 and 1"]),
        (["--quantile=nan"], ["--quantile", "between 0 and 1"]),
        (["--quantile=0.5", "--image_threshold=0"], ["--quantile and --image_threshold"]),
        (["--quantile=a"], ["quantile"]),
    ],
)
def test_a_choice_that_cannot_be_is_one_line(trained, mistake, images, tmp_path, arguments, parts):
    for verb, more in (
        ("evaluate", []),
        ("predict", [f"--input={images}", f"--output={tmp_path / 'out'}"]),
    ):
        line = mistake(verb, f"--workdir={trained[0]}", *more, *arguments)
        assert all(part in line for part in parts), line
    assert not (tmp_path / "out").exists()
    assert not (trained[0] / "evaluation").exists()


def test_any_quantile_is_that_of_the_held_out_scores():
    maps = np.random.default_rng(0).normal(size=(40, 3, 4)).astype(np.float32)
    kept = calibrate(maps, maps.max((1, 2)), Quantiles(0.95, 0.99))
    for quantile in (0.5, 0.8, 0.95, 0.999):
        assert kept.decided(Decision(quantile=quantile)) == calibrate(
            maps, maps.max((1, 2)), Quantiles(quantile, 0.99)
        )


def test_a_given_threshold_promises_nothing_and_says_what_the_held_out_images_do():
    scores = np.arange(4, dtype=np.float32)
    kept = calibrate(scores.reshape(4, 1, 1), scores, Quantiles(0.5, 0.5))
    decided = kept.decided(Decision(image_threshold=2.0))
    assert decided.expected_false_positive_rate is None
    assert (
        decided.promise() == "image threshold 2, as given: 2 of 4 held-out normal images reach it"
    )
    assert Calibration().decided(Decision(image_threshold=2.0)).promise() is None


def train(command, config_file, workdir, epochs):
    return command(
        "train",
        f"--config={config_file}",
        f"--workdir={workdir}",
        f"--config.training.epochs={epochs}",
    )


def parameters(workdir, model_content):
    """Return the log without times, and the model's files, which hold every parameter."""
    log = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    for record in log:
        del record["seconds"]
    return log, model_content(workdir)


def test_a_finished_run_goes_on_to_more_epochs_as_if_it_had_had_them(
    command, config_file, trained_copy, tmp_path, model_content
):
    outcome = train(command, config_file, trained_copy, 4)
    assert outcome.code == 0, outcome
    assert "going on from step 4 of 8" in outcome.out
    assert train(command, config_file, tmp_path / "whole", 4).code == 0
    assert parameters(trained_copy, model_content) == parameters(tmp_path / "whole", model_content)
    runs = [(w / "run.json").read_bytes() for w in (trained_copy, tmp_path / "whole")]
    assert runs[0] == runs[1]
    assert command("evaluate", f"--workdir={trained_copy}", "--pictures=0").code == 0


def test_while_a_run_goes_on_its_old_model_is_not_used(
    command, mistake, config_file, trained_copy, images, tmp_path, monkeypatch
):
    monkeypatch.setattr("jaxflow.experiments.train_run.fit", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(command, config_file, trained_copy, 3)
    for verb, more in (
        ("evaluate", []),
        ("predict", [f"--input={images}", f"--output={tmp_path / 'out'}"]),
    ):
        assert "holds no run that was trained to its end" in mistake(
            verb, f"--workdir={trained_copy}", *more
        )


def test_more_epochs_are_refused_where_the_learning_rate_depends_on_them(
    command, mistake, config_file, tmp_path
):
    arguments = [f"--config={config_file}", f"--workdir={tmp_path / 'run'}"]
    arguments += ["--config.training.schedule=cosine_warmup", "--config.training.warmup_epochs=1"]
    assert command("train", *arguments).code == 0
    before = (tmp_path / "run/run.json").read_bytes()
    line = mistake("train", *arguments, "--config.training.epochs=3")
    assert "with the schedule cosine_warmup" in line
    assert (tmp_path / "run/run.json").read_bytes() == before
