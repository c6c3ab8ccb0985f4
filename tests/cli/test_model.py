"""A trained model to hold: loaded, scored, saved; the same for every family of detectors."""

import numpy as np
import pytest

import jaxflow
from jaxflow.data.image import decode_image, resize_image
from jaxflow.detectors import DETECTORS
from jaxflow.errors import InputError
from jaxflow.evaluation.calibration import Decision
from jaxflow.files import read_sealed_json, write_sealed_json


@pytest.fixture
def photos(tmp_path, image):
    for i in range(3):
        image(tmp_path / "photos" / f"{i}.png", i)
    return tmp_path / "photos"


def test_a_model_scores_arrays_paths_and_folders_alike(trained, photos):
    model = jaxflow.load(trained[0])
    from_folder = model.score(photos)
    paths = sorted(photos.iterdir())
    array = np.stack([resize_image(decode_image(path), model.size) for path in paths])
    assert from_folder.names == [str(path) for path in paths]
    assert from_folder.anomaly_maps.shape == (3, *model.size)
    for images in (array, paths, [str(path) for path in paths]):
        np.testing.assert_array_equal(
            model.score(images).anomaly_scores, from_folder.anomaly_scores
        )
    one = model.score(array[1])
    np.testing.assert_allclose(one.anomaly_scores, from_folder.anomaly_scores[1:2], 1e-5)
    np.testing.assert_array_equal(one.p_values, [0.5] if one.decisions[0] else [1.0])


def test_a_saved_model_is_the_same_and_replaces_the_one_before(trained, photos, tmp_path):
    model = jaxflow.load(trained[0], batch_size=2)
    for _ in range(2):
        assert model.save(tmp_path / "model") == tmp_path / "model"
    again = jaxflow.load(tmp_path / "model")
    for mine, theirs in zip(model.score(photos), again.score(photos), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert again.batch_size == 2
    names = {path.name for path in (tmp_path / "model").iterdir()}
    assert names == {"model.json", "last.safetensors", "best.safetensors"}


def test_the_decision_can_be_another(trained, photos):
    model = jaxflow.load(trained[0])
    assert model.score(photos, decision=Decision(image_threshold=-10.0)).decisions.all()
    other = model.score(photos, decision=Decision(score="nll"), selection="last")
    assert not np.array_equal(other.anomaly_scores, model.score(photos).anomaly_scores)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 8, 8, 3), np.float32), r"images must be u8\[n, h, w, 3\].*float32"),
        (np.zeros((0, 8, 8, 3), np.uint8), r"n at least 1, got uint8\[0, 8, 8, 3\]"),
        ([], "no images in an empty list"),
        ("/none.png", "/none.png"),
    ],
)
def test_what_cannot_be_scored_is_one_line(trained, images, message):
    with pytest.raises(InputError, match=message) as caught:
        jaxflow.load(trained[0]).score(images)
    assert "\n" not in str(caught.value)


def test_what_is_no_model_is_one_line(trained_copy, tmp_path):
    with pytest.raises(InputError, match="holds no run that was trained to its end"):
        jaxflow.load(tmp_path)
    path = trained_copy / "model/best.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="best.safetensors is damaged.*train command again"):
        jaxflow.load(trained_copy)


@pytest.mark.parametrize("family", sorted(set(DETECTORS) - {"flow"}))
def test_every_family_goes_through_the_same_commands(
    command, config_file, photos, tmp_path, family
):
    options = [f"--config.model.detector={family}", "--config.model.steps=8"]
    options += ["--config.model.options.images=5"] * (family == "spade")
    where = f"--workdir={tmp_path / 'run'}"
    outcome = command("train", f"--config={config_file}", where, *options)
    assert outcome.code == 0, outcome
    outcome = command("evaluate", f"--workdir={tmp_path / 'run'}", "--pictures=1")
    assert outcome.code == 0, outcome
    usual = next(iter(DETECTORS[family].meanings))
    assert usual in outcome.out
    page = (tmp_path / "run/evaluation/index.html").read_text()
    assert "one look at each training image" in page
    assert "epochs" not in page
    output = tmp_path / "out"
    given = [f"--workdir={tmp_path / 'run'}", f"--input={photos}", f"--output={output}"]
    outcome = command("predict", *given)
    assert outcome.code == 0, outcome
    result = jaxflow.load(tmp_path / "run").score(photos)
    header, *rows = (output / "scores.csv").read_text().splitlines()
    assert header == f"name,anomaly_score_{usual},decision_{usual}"
    written = [float(row.split(",")[1]) for row in rows]
    np.testing.assert_allclose(written, result.anomaly_scores, 1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--config.model.detector=gauss"], "config.model.detector must be one of"),
        (
            ["--config.model.detector=gaussian", "--config.model.options.shrinkag=0.1"],
            "did you mean shrinkage?",
        ),
        (
            [
                "--config.model.detector=gaussian",
                "--config.model.steps=8",
                "--config.model.options.shrinkage=oasis",
            ],
            "config.model: shrinkage must be",
        ),
        (["--config.model.detector=gaussian", "--config.model.steps=3"], "has no effect"),
        (
            [
                "--config.model.detector=gaussian",
                "--config.model.steps=8",
                "--config.data.augmentation=fastflow",
            ],
            "config.data.augmentation 'fastflow' has no effect",
        ),
        (["--config.model.options.name=mine"], "config.model.options.name: no such option"),
        (["--config.model.options.loss=nll"], "config.model.options.loss: no such option"),
        (["--config.model.options.precision=exact"], "config.model"),
        (["--config.model.detector=gaussian", "--config.evaluation.score=cflow"], "mahalanobis"),
    ],
)
def test_a_wrong_option_of_a_family_is_one_line(mistake, config_file, tmp_path, options, message):
    line = mistake("train", f"--config={config_file}", f"--workdir={tmp_path / 'run'}", *options)
    assert message in line
    assert not (tmp_path / "run").exists()


def test_a_family_that_is_not_trained_needs_no_whole_batch(command, config_file, tmp_path):
    options = ["--config.model.detector=gaussian", "--config.model.steps=8"]
    options += ["--config.training.batch_size=64", f"--workdir={tmp_path / 'run'}"]
    assert command("train", f"--config={config_file}", *options).code == 0


def test_an_option_of_the_flow_reaches_it(command, config_file, tmp_path):
    options = ["--config.model.options.precision=default", f"--workdir={tmp_path / 'run'}"]
    assert command("train", f"--config={config_file}", *options).code == 0
    assert jaxflow.load(tmp_path / "run").detector.pyramid.flow.precision == "default"


def test_the_selections_of_a_model_are_read_only(trained):
    model = jaxflow.load(trained[0])
    with pytest.raises(TypeError, match="does not support item assignment"):
        model.selections["best"] = model.selections["last"]
    assert set(model.with_selections({"last": model.selections["last"]}).selections) == {"last"}


def test_a_run_of_another_version_is_to_be_trained_again(mistake, trained_copy):
    run = read_sealed_json(trained_copy / "run.json")
    del run["config"]["model"]["detector"]
    write_sealed_json(trained_copy / "run.json", run)
    line = mistake("evaluate", f"--workdir={trained_copy}")
    assert "is of another version of jaxflow" in line
    assert "train again in another folder" in line
