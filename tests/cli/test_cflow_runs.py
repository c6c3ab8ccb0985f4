"""CFLOW from the training to the scores: what its score is relative to goes with the model."""

import csv
import json
import shutil

import numpy as np
import pytest

import jaxflow
from jaxflow.data.pipeline import read_images
from jaxflow.experiments.build import make_dataset
from jaxflow.experiments.run_folder import load_run

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


def test_the_reference_is_the_maximum_of_the_training_images(run):
    model = jaxflow.load(run)
    detector, encoder = model.detector, model.detector.encoder
    images = read_images(make_dataset(load_run(run)[0]).train, model.size)
    for name, selection in model.selections.items():
        (latent,) = detector.latents(selection.variables, encoder(encoder.variables, images))
        expected = float(np.max(latent.log_prob())) / latent.z.shape[-1]
        got = selection.variables["constants"]["cflow_reference"]
        np.testing.assert_allclose(got, [expected], 1e-4, err_msg=name)


def test_a_score_is_relative_to_the_reference_of_the_model(run, photos, tmp_path):
    model = jaxflow.load(run)
    before = model.score(photos).anomaly_scores
    selection = model.selections["best"]
    constants = dict(selection.variables["constants"])
    constants["cflow_reference"] = constants["cflow_reference"] - np.log(np.float32(100.0))
    changed = selection._replace(variables={**selection.variables, "constants": constants})
    model.with_selections({**model.selections, "best": changed}).save(tmp_path / "model")
    after = jaxflow.load(tmp_path / "model").score(photos).anomaly_scores
    # One map: the score is 1 - p, and a maximum less by log 100 multiplies p by 100.
    np.testing.assert_allclose(1.0 - after, 100 * (1.0 - before), 1e-3)


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


def test_a_missing_model_is_named_and_the_train_command_makes_it_again(
    command, mistake, config_file, run, copy, model_content
):
    shutil.rmtree(copy / "model")
    line = mistake("evaluate", f"--workdir={copy}")
    assert "holds no run that was trained to its end" in line
    assert "the same train command goes on" in line
    assert train(command, config_file, copy).code == 0
    assert model_content(copy) == model_content(run)
