"""From arrays to figures in Python, without a command: `jaxflow.fit`, `model.evaluate`."""

import inspect

import numpy as np
import optax
import pytest

import jaxflow
from jaxflow.data.loading import load_dataset
from jaxflow.detectors import DETECTORS, Gaussian
from jaxflow.detectors.flow import flow_detector
from jaxflow.encoders import load_encoder
from jaxflow.errors import InputError
from jaxflow.evaluation import image_auroc, pixel_auroc
from jaxflow.evaluation.calibration import Decision
from jaxflow.flows import FastFlow2D
from jaxflow.training import Recipe, encoded, mean_nll

SIZE = (32, 32)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    options = {"size": 32, "n_train": 12, "n_test_normal": 3, "n_test_anomalous": 4}
    cache = tmp_path_factory.mktemp("cache")
    return load_dataset("textures", category="woven", cache_dir=str(cache), **options)


@pytest.fixture(scope="module")
def encoder():
    return load_encoder("resnet18", stages=(1,), weights="random")


@pytest.fixture(scope="module")
def model(encoder, dataset):
    detector = flow_detector(encoder, FastFlow2D(steps=1))
    return jaxflow.fit(
        detector, dataset, epochs=2, batch_size=4, size=SIZE, optimizer=optax.adam(1e-3), say=quiet
    )


def quiet(line):
    del line


@pytest.mark.parametrize("normalization", ["standardize", "layer_norm"])
def test_a_model_knows_the_likelihood_of_the_held_out_images(encoder, dataset, normalization):
    detector = flow_detector(encoder, FastFlow2D(steps=1), normalization)
    options = {"epochs": 1, "batch_size": 4, "size": SIZE, "say": quiet}
    model = jaxflow.fit(detector, dataset, **options)
    last = model.selections["last"]
    batches = encoded(encoder, dataset.validation, SIZE)
    expected = mean_nll(detector.likelihood, last.variables, batches)
    assert last.validation_nll == pytest.approx(expected, rel=1e-5)
    assert detector.likelihood.instead == {"layer_norm": "maps after layer_norm"}.get(
        normalization, ""
    )
    assert 0 < model.about["train_seconds"] < 60


def test_a_gaussian_of_one_map_has_a_likelihood_that_compares(encoder, dataset):
    detector = Gaussian(encoder)
    model = jaxflow.fit(detector, dataset, size=SIZE, say=quiet)
    last = model.selections["last"]
    (maps, valid), *rest = encoded(encoder, dataset.validation, SIZE)
    log_prob = np.asarray(detector.log_prob(last.variables, maps), np.float64)[valid]
    assert rest == []
    assert last.validation_nll == pytest.approx(-log_prob.mean() / 64, rel=1e-5)
    assert detector.likelihood.instead == ""
    assert Gaussian(encoder, channels=3).likelihood.instead == "3 of 64 channels"
    assert Gaussian(encoder, pooled=True).likelihood.instead == "averages of the maps"
    two = load_encoder("resnet18", stages=(1, 2), weights="random")
    assert Gaussian(two).likelihood.instead == "maps resized to one grid"


def test_a_detector_is_fitted_scored_and_saved_without_a_folder_of_a_run(model, dataset, tmp_path):
    assert set(model.selections) == {"last", "best"}
    assert model.selections["last"].step == 4
    images = np.stack([example.image for example in (dataset.test[i] for i in range(3))])
    result = model.score(images)
    assert result.anomaly_maps.shape == (3, *SIZE)
    assert ((0 < result.p_values) & (result.p_values <= 1)).all()
    model.save(tmp_path / "model")
    with pytest.raises(InputError, match="build its detector and call jaxflow.model.read_model"):
        jaxflow.load(tmp_path / "model")
    again = jaxflow.model.read_model(tmp_path / "model", model.detector)
    np.testing.assert_array_equal(again.score(images).anomaly_scores, result.anomaly_scores)
    assert again.about == model.about
    assert again.selections["last"].validation_nll == model.selections["last"].validation_nll


def test_figures_are_those_of_the_scores(model, dataset):
    found = model.evaluate(dataset)
    assert {score for _, score in found} == set(model.detector.scores)
    for (name, score), (scored, calibration, evaluation) in found.items():
        images = np.stack([dataset.test[i].image for i in range(len(dataset.test))])
        alone = model.scores(images, [name])[name][score]
        np.testing.assert_array_equal(scored.anomaly_score, alone.anomaly_score)
        masks = np.stack([dataset.test[i].mask for i in range(len(dataset.test))])
        expected = image_auroc(dataset.test.labels, alone.anomaly_score)
        assert evaluation.metrics["image_auroc"] == expected
        assert evaluation.metrics["pixel_auroc"] == pixel_auroc(masks, alone.anomaly_map)
        assert calibration.images == len(dataset.validation)


def test_a_decision_counts_for_the_score_that_decides(model, dataset):
    decision = Decision(score="nll", image_threshold=1e6)
    found = model.evaluate(dataset.test, decision=decision)
    assert found["last", "nll"].evaluation.metrics["image_tpr_at_threshold"] == 0.0
    assert found["last", "probability"].calibration.image_threshold != 1e6


def test_without_test_images_there_is_one_line(model, dataset):
    with pytest.raises(InputError, match="no test images"):
        model.evaluate(dataset.test.subset([]))


def test_a_folder_keeps_what_a_later_call_goes_on_from(encoder, dataset, tmp_path):
    detector, recipe = flow_detector(encoder, FastFlow2D(steps=1)), Recipe(SIZE, 0, 2, 4)
    said = []
    first = jaxflow.fit(detector, dataset, tmp_path / "run", recipe=recipe, say=quiet)
    second = jaxflow.fit(detector, dataset, tmp_path / "run", recipe=recipe, say=said.append)
    assert any("going on from step 4 of 4" in line for line in said)
    for name in ("last", "best"):
        for mine, theirs in zip(
            *(leaves(each.selections[name].variables) for each in (first, second)), strict=True
        ):
            np.testing.assert_array_equal(mine, theirs)


def leaves(tree):
    return [
        leaf
        for value in tree.values()
        for leaf in (leaves(value) if isinstance(value, dict) else [value])
    ]


def test_options_and_a_recipe_are_not_mixed(encoder, dataset):
    detector = Gaussian(encoder)
    with pytest.raises(TypeError, match="epochs belongs to the recipe"):
        jaxflow.fit(detector, dataset, recipe=Recipe(SIZE), epochs=3)
    with pytest.raises(TypeError, match="epoch"):
        jaxflow.fit(detector, dataset, epoch=3)


@pytest.mark.parametrize("family", sorted(set(DETECTORS) - {"flow"}))
def test_every_family_that_only_looks_is_fitted(encoder, dataset, family):
    build = DETECTORS[family].build
    options = {"images": 5} if "images" in inspect.signature(build).parameters else {}
    model = jaxflow.fit(build(encoder, **options), dataset, size=SIZE, say=quiet)
    found = model.evaluate(dataset)
    assert found["last", model.deciding_score].evaluation.metrics["image_auroc"] >= 0
