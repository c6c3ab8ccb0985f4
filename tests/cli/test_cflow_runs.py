"""CFLOW from the training to the scores: the maxima go with the checkpoints."""

import csv
import json
import shutil

import numpy as np
import pytest

from jaxflow.data import read_images
from jaxflow.experiment import (
    image_size,
    load_selections,
    make_dataset,
    make_detector,
    make_encoder,
)
from jaxflow.run_folder import load_run
from jaxflow.training import Checkpoints

OPTIONS = (
    "model.flow=cflow",
    "model.condition=position",
    "model.condition_dim=8",
    "model.permutation=soft",
    "model.normalization=none",
    "training.vectors=64",
    "training.loss=log_sigmoid",
    "training.schedule=cosine_warmup",
    "training.warmup_epochs=1",
    "evaluation.score=cflow",
    "evaluation.test_maximum=True",
)


def train(command, config_file, workdir):
    options = [f"--config.{option}" for option in OPTIONS]
    return command("train", f"--config={config_file}", f"--workdir={workdir}", *options)


@pytest.fixture(scope="module")
def run(command, config_file, tmp_path_factory):
    """Give the workdir of a finished CFLOW run, not to be changed."""
    workdir = tmp_path_factory.mktemp("cflow") / "run"
    outcome = train(command, config_file, workdir)
    assert outcome.code == 0, outcome
    return workdir


@pytest.fixture
def copy(run, tmp_path):
    """Give a copy of the run, to be changed."""
    return shutil.copytree(run, tmp_path / "copy")


@pytest.fixture
def photos(tmp_path, image):
    for i in range(3):
        image(tmp_path / "photos" / f"{i}.png", i)
    return tmp_path / "photos"


def predict(command, workdir, photos, output):
    flags = (f"--workdir={workdir}", f"--input={photos}", f"--output={output}", "--nopictures")
    outcome = command("predict", *flags)
    assert outcome.code == 0, outcome
    with (output / "scores.csv").open() as file:
        return {row["name"]: float(row["anomaly_score_cflow"]) for row in csv.DictReader(file)}


def forget_maxima(workdir):
    """Take the maxima out of all checkpoints, as a kill before they are added leaves them."""
    for path in workdir.glob("*/*/maxima.json"):
        path.unlink()
        seal = path.with_name("SHA256SUMS")
        lines = seal.read_text().splitlines(keepends=True)
        seal.write_text("".join(line for line in lines if "maxima" not in line))


def test_maxima_are_those_of_the_training_images(run):
    config, _ = load_run(run)
    encoder = make_encoder(config)
    detector = make_detector(config, encoder)
    images = read_images(make_dataset(config).train, image_size(config))
    for name, selection in load_selections(run, config, detector, print).items():
        feature_maps = encoder(encoder.variables, images)
        (latent,) = detector.latents(selection.variables, feature_maps)
        expected = float(np.max(latent.log_prob())) / latent.z.shape[-1]
        got = selection.variables["constants"]["log_prob_maxima"]
        np.testing.assert_allclose(got, [expected], 1e-4, err_msg=name)


def test_predict_scores_by_the_maxima_of_the_checkpoint(command, run, copy, photos, tmp_path):
    before = predict(command, run, photos, tmp_path / "before")
    (path,) = (copy / "best").glob("*/maxima.json")
    (maximum,) = json.loads(path.read_text())
    checkpoints = Checkpoints(copy / "best", read_only=True)
    checkpoints.add_maxima(checkpoints.steps[-1], [maximum - np.log(100.0)])
    after = predict(command, copy, photos, tmp_path / "after")
    for name, score in before.items():
        # One map: the score is 1 - p, and a maximum less by log 100 multiplies p by 100.
        np.testing.assert_allclose(1.0 - after[name], 100 * (1.0 - score), 1e-3)


def test_a_score_does_not_depend_on_what_else_is_scored(command, run, photos, tmp_path):
    together = predict(command, run, photos, tmp_path / "all")
    alone = predict(command, run, photos / "1.png", tmp_path / "one")
    np.testing.assert_allclose(alone["1.png"], together["1.png"], 0, 1e-5)


def test_the_test_sets_maximum_is_marked(command, run):
    outcome = command("evaluate", f"--workdir={run}", "--pictures=0")
    assert outcome.code == 0, outcome
    assert "it has seen the test set and is no result" in outcome.err
    results = json.loads((run / "evaluation/metrics.json").read_text())["results"]
    marked = {(row["score"], row["oracle"]) for row in results}
    usual = {(score, False) for score in ("probability", "nll", "cflow")}
    assert marked == usual | {("cflow_test_max", True)}


def test_a_damaged_maximum_is_found(command, copy):
    for path in copy.glob("*/*/maxima.json"):
        path.write_text("[0.0]")
    outcome = command("evaluate", f"--workdir={copy}")
    assert outcome.code == 2
    assert "maxima.json does not match its SHA-256; going back to the one before" in outcome.err
    assert "checkpoints/2 has no likelihood maxima of the training images" in outcome.err


def test_missing_maxima_are_named_and_the_train_command_adds_them(
    command, mistake, config_file, run, copy
):
    forget_maxima(copy)
    line = mistake("evaluate", f"--workdir={copy}")
    assert "has no likelihood maxima of the training images" in line
    assert "the same train command goes on" in line
    assert train(command, config_file, copy).code == 0
    for path in run.glob("*/*/maxima.json"):
        assert (copy / path.relative_to(run)).read_text() == path.read_text()
