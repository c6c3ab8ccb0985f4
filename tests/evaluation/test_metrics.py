"""The metrics against scikit-learn and against slow references, and their invariances."""

import numpy as np
import pytest
from sklearn import metrics as reference

from jaxflow.errors import InputError
from jaxflow.evaluation import metrics, ranking


def tied(seed, shape=(400,), levels=7, dtype=np.float32):
    """Labels and scores, with so few levels that nearly every score is tied."""
    rng = np.random.default_rng(seed)
    labels = rng.random(shape) < 0.3
    scores = (np.round(levels * rng.normal(labels, 1.0)) / levels).astype(dtype)
    return labels, scores


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("levels", [1, 3, 1000])
def test_auroc_equals_scikit_learn_with_ties(levels, dtype):
    for seed in range(5):
        labels, scores = tied(seed, levels=levels, dtype=dtype)
        expected = reference.roc_auc_score(labels, scores.astype(np.float64))
        assert abs(metrics.auroc(labels, scores) - expected) < 1e-12


def test_searching_in_small_chunks_changes_nothing(monkeypatch):
    labels, scores = tied(0)
    whole = (metrics.auroc(labels, scores), metrics.f1_max(labels, scores))
    average = metrics.average_precision(labels, scores)
    monkeypatch.setattr(ranking, "CHUNK", 7)
    assert (metrics.auroc(labels, scores), metrics.f1_max(labels, scores)) == whole
    assert metrics.average_precision(labels, scores) == pytest.approx(average, abs=1e-14)


def test_auroc_of_perfect_constant_and_reversed_scores():
    labels = np.array([0, 0, 0, 1, 1])
    assert metrics.auroc(labels, np.arange(5.0)) == 1.0
    assert metrics.auroc(labels, np.zeros(5)) == 0.5
    assert metrics.auroc(labels, -np.arange(5.0)) == 0.0


def test_monotone_transform_and_other_order_change_no_ranking_metric():
    labels, scores = tied(3, levels=50)
    order = np.random.default_rng(0).permutation(labels.size)
    for metric in (
        metrics.auroc,
        metrics.average_precision,
        lambda *arguments: metrics.f1_max(*arguments).f1,
    ):
        value = metric(labels, scores)
        assert metric(labels, np.exp(scores.astype(np.float64))) == pytest.approx(value, abs=1e-14)
        assert metric(labels[order], scores[order]) == pytest.approx(value, abs=1e-14)


def test_negating_scores_and_labels_keeps_auroc():
    labels, scores = tied(4)
    assert metrics.auroc(~labels, -scores) == pytest.approx(metrics.auroc(labels, scores))


def test_image_and_pixel_auroc_count_every_image_and_pixel():
    masks, maps = tied(5, shape=(3, 8, 9))
    expected = reference.roc_auc_score(masks.ravel(), maps.ravel())
    assert metrics.pixel_auroc(masks, maps) == pytest.approx(expected, abs=1e-12)
    assert metrics.image_auroc(masks.ravel(), maps.ravel()) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("levels", [2, 5, 500])
def test_f1_max_equals_the_best_of_every_threshold(levels):
    for seed in range(5):
        labels, scores = tied(seed, shape=(120,), levels=levels)
        all_f1 = {t: reference.f1_score(labels, scores >= t) for t in np.unique(scores)}
        best = metrics.f1_max(labels, scores)
        assert best.f1 == pytest.approx(max(all_f1.values()), abs=1e-12)
        highest = max(t for t, f1 in all_f1.items() if f1 > best.f1 - 1e-12)
        assert best.threshold == highest


def test_f1_max_threshold_reproduces_its_f1_in_float32():
    labels, scores = tied(6, levels=3)
    best = metrics.f1_max(labels, scores)
    assert reference.f1_score(labels, scores >= best.threshold) == pytest.approx(best.f1)


@pytest.mark.parametrize("levels", [1, 4, 500])
def test_average_precision_equals_scikit_learn(levels):
    labels, scores = tied(7, levels=levels)
    expected = reference.average_precision_score(labels, scores)
    assert metrics.average_precision(labels, scores) == pytest.approx(expected, abs=1e-12)


def test_roc_points_lie_on_the_full_curve_and_keep_its_area():
    labels, scores = tied(8, shape=(5000,), levels=200)
    full_fpr, full_tpr, _ = reference.roc_curve(labels, scores, drop_intermediate=False)
    all_points = metrics.roc_points(labels, scores, max_points=20000)
    np.testing.assert_allclose(all_points.fpr, full_fpr, atol=1e-15)
    np.testing.assert_allclose(all_points.tpr, full_tpr, atol=1e-15)
    few = metrics.roc_points(labels, scores, max_points=100)
    assert few.fpr.size <= 101
    assert set(zip(few.fpr, few.tpr, strict=True)) <= set(zip(full_fpr, full_tpr, strict=True))
    assert (few.fpr[-1], few.tpr[-1]) == (1.0, 1.0)
    assert np.trapezoid(few.tpr, few.fpr) == pytest.approx(metrics.auroc(labels, scores), abs=1e-3)


def test_arguments_are_not_changed():
    labels, scores = tied(9)
    before = scores.copy()
    metrics.auroc(labels, scores)
    metrics.f1_max(labels, scores)
    np.testing.assert_array_equal(scores, before)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_refused(bad):
    labels, scores = tied(0)
    scores[17] = bad
    for metric in (metrics.auroc, metrics.f1_max, metrics.average_precision, metrics.roc_points):
        with pytest.raises(InputError, match="1 of 400 scores are NaN or infinite"):
            metric(labels, scores)


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([], [], "no score was given"),
        ([0, 0], [0.1, 0.2], "no anomalous example"),
        ([1, 1], [0.1, 0.2], "no normal example"),
        ([0, 1, 1], [0.1, 0.2], r"shape \(3,\) do not fit scores of shape \(2,\)"),
        ([0, 255], [0.1, 0.2], "must be bool or 0 and 1, got values from 0 to 255"),
        ([0, np.nan], [0.1, 0.2], "must be bool or 0 and 1"),
    ],
)
def test_input_that_allows_no_metric_is_refused_in_one_line(labels, scores, message):
    for metric in (metrics.auroc, metrics.f1_max, metrics.average_precision):
        with pytest.raises(InputError, match=message) as caught:
            metric(labels, scores)
        assert "\n" not in str(caught.value)


def test_wrong_ranks_are_refused():
    masks, maps = tied(5, shape=(3, 8, 9))
    with pytest.raises(InputError, match=r"\[b, h, w\]"):
        metrics.pixel_auroc(masks[0], maps[0])
    with pytest.raises(InputError, match=r"shape \[b\]"):
        metrics.image_auroc(masks, maps)
