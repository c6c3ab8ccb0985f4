"""Thresholds from normal scores alone, and the summary of all metrics."""

import numpy as np
import pytest

from jaxflow.errors import InputError
from jaxflow.evaluation import aupimo, aupro, metrics
from jaxflow.evaluation.summary import evaluate_scores
from jaxflow.evaluation.thresholds import expected_false_positive_rate, normal_quantile_threshold


@pytest.mark.parametrize("count", [20, 99, 500])
@pytest.mark.parametrize("quantile", [0.9, 0.95, 0.99])
def test_expected_false_positive_rate_is_met_by_new_normal_scores(count, quantile):
    rng = np.random.default_rng(count)
    rates = []
    for _ in range(2000):
        threshold = normal_quantile_threshold(rng.normal(size=count), quantile)
        rates.append(np.mean(rng.normal(size=50) >= threshold))
    expected = expected_false_positive_rate(count, quantile)
    assert np.mean(rates) == pytest.approx(expected, abs=0.006)
    assert expected <= max(1 - quantile, 1 / (count + 1)) + 1e-12


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scores_equal_to_the_quantile_raise_no_alarm(dtype):
    scores = np.full(50, 0.3, dtype)
    threshold = normal_quantile_threshold(scores, 0.9)
    assert not np.any(scores >= threshold)
    assert np.nextafter(dtype(0.3), dtype(1)) >= dtype(threshold)


def test_threshold_is_just_above_the_conformal_order_statistic():
    scores = np.random.default_rng(0).permutation(np.arange(1.0, 100.0))
    assert normal_quantile_threshold(scores, 0.95) == pytest.approx(95.0)
    assert normal_quantile_threshold(scores, 0.999) == pytest.approx(99.0)


def test_thresholds_from_impossible_input_are_refused():
    with pytest.raises(InputError, match="no score"):
        normal_quantile_threshold([])
    with pytest.raises(InputError, match="NaN"):
        normal_quantile_threshold([0.1, np.nan])
    for quantile in (0.0, 1.0, -1.0):
        with pytest.raises(InputError, match="quantile must be between 0 and 1"):
            normal_quantile_threshold([0.1], quantile)
    with pytest.raises(InputError, match="at least one"):
        expected_false_positive_rate(0)


@pytest.fixture
def scored():
    rng = np.random.default_rng(0)
    labels = np.array([0, 0, 0, 1, 1, 1])
    masks = np.zeros((6, 200, 180), bool)
    masks[3, 2:5, 2:5] = masks[4, 7:9, 1:9] = masks[5, 0, 0] = True
    maps = rng.normal(1.5 * masks, 1.0).astype(np.float32)
    return labels, maps.max(axis=(1, 2)), masks, maps


def test_summary_equals_the_single_metrics(scored):
    labels, scores, masks, maps = scored
    found, skipped = evaluate_scores(
        labels,
        scores,
        masks=masks,
        anomaly_maps=maps,
        image_threshold=2.5,
        pixel_threshold=1.0,
        max_fpr=0.2,
    )
    assert not skipped
    assert found["image_auroc"] == metrics.auroc(labels, scores)
    assert found["pixel_auroc"] == metrics.auroc(masks, maps)
    assert found["pixel_aupro"] == aupro.pixel_aupro(masks, maps, 0.2)
    assert found["pixel_aupimo"] == aupimo.pixel_aupimo(masks, maps).mean
    assert found["pixel_average_precision"] == metrics.average_precision(masks, maps)
    assert (found["pixel_f1_max"], found["pixel_f1_max_threshold"]) == metrics.f1_max(masks, maps)
    assert found["image_fpr_at_threshold"] == np.mean(scores[:3] >= 2.5)
    assert found["image_tpr_at_threshold"] == np.mean(scores[3:] >= 2.5)
    assert found["pixel_fpr_at_threshold"] == np.mean(maps[~masks] >= 1.0)
    assert found["pixel_tpr_at_threshold"] == np.mean(maps[masks] >= 1.0)
    assert all(type(value) is float for value in found.values())


def test_a_score_equal_to_the_threshold_counts_as_anomalous(scored):
    labels, scores, _, _ = scored
    found, _ = evaluate_scores(labels, scores, image_threshold=float(scores[3:].max()))
    assert found["image_tpr_at_threshold"] == pytest.approx(1 / 3)


def test_missing_masks_thresholds_and_classes_are_skipped_with_a_reason(scored):
    labels, scores, masks, maps = scored
    found, skipped = evaluate_scores(labels, scores)
    assert skipped["pixel_aupro"] == skipped["pixel_aupimo"] == "no masks"
    assert skipped["image_fpr_at_threshold"] == "no threshold from validation scores"
    assert "image_auroc" in found
    found, skipped = evaluate_scores(labels, scores, masks=masks)
    assert skipped["pixel_auroc"] == "no anomaly maps"
    found, skipped = evaluate_scores(
        labels[:3], scores[:3], masks=masks[:3], anomaly_maps=maps[:3], image_threshold=2.5
    )
    assert skipped["image_auroc"] == "no anomalous image in the test set"
    assert skipped["pixel_aupro"] == skipped["pixel_f1_max"] == "no anomalous pixel in the test set"
    assert skipped["pixel_aupimo"] == "no anomalous pixel in the test set"
    assert skipped["image_tpr_at_threshold"] == "no anomalous image in the test set"
    assert found["image_fpr_at_threshold"] == np.mean(scores[:3] >= 2.5)
    assert not set(found) & set(skipped)


def test_aupimo_needs_normal_images_and_enough_of_them(scored):
    labels, scores, masks, maps = scored
    _, skipped = evaluate_scores(labels[3:], scores[3:], masks=masks[3:], anomaly_maps=maps[3:])
    assert skipped["pixel_aupimo"] == "no normal image in the test set"
    some = slice(1, 6)
    found, skipped = evaluate_scores(
        labels[some], scores[some], masks=masks[some], anomaly_maps=maps[some]
    )
    assert skipped["pixel_aupimo"] == (
        "the normal images of the test set have 72000 pixels, and a false-positive rate of 1e-05 "
        "needs 100000"
    )
    assert "pixel_aupro" in found


def test_an_anomalous_image_without_anomalous_pixels_is_not_normal_to_aupimo(scored):
    labels, scores, masks, maps = scored
    masks = masks.copy()
    masks[5] = False
    found, _ = evaluate_scores(labels, scores, masks=masks, anomaly_maps=maps)
    assert found["pixel_aupimo"] == aupimo.pixel_aupimo(masks, maps, labels).mean
    assert found["pixel_aupimo"] == aupimo.pixel_aupimo(masks[:5], maps[:5]).mean


def test_kinds_of_defect_are_told_apart_where_there_are_several(scored):
    labels, scores, masks, maps = scored
    defects = ["good"] * 3 + ["bent", "cut", "bent"]
    given = {"masks": masks, "anomaly_maps": maps}
    found, _ = evaluate_scores(labels, scores, **given, defects=defects)
    areas = aupimo.pixel_aupimo(masks, maps).per_image
    for kind, members in (("bent", [3, 5]), ("cut", [4])):
        shown = [0, 1, 2, *members]
        assert found[f"image_auroc/{kind}"] == metrics.auroc(labels[shown], scores[shown])
        assert found[f"pixel_aupimo/{kind}"] == pytest.approx(np.mean(areas[members]))
    whole, _ = evaluate_scores(labels, scores, **given)
    one_kind, _ = evaluate_scores(labels, scores, **given, defects=["good"] * 3 + ["cut"] * 3)
    assert one_kind == whole == {k: v for k, v in found.items() if "/" not in k}
    of_images, _ = evaluate_scores(labels, scores, defects=defects)
    assert {k for k in of_images if "/" in k} == {"image_auroc/bent", "image_auroc/cut"}
    some = slice(3, 6)
    found, _ = evaluate_scores(labels[some], scores[some], defects=defects[some])
    assert not any("/" in name for name in found)
    with pytest.raises(InputError, match="expected one for each of 6 images, got 5"):
        evaluate_scores(labels, scores, defects=defects[1:])


def test_every_metric_is_either_found_or_skipped(scored):
    labels, scores, masks, maps = scored
    full, _ = evaluate_scores(
        labels, scores, masks=masks, anomaly_maps=maps, image_threshold=0.0, pixel_threshold=0.0
    )
    for some in (slice(0, 3), slice(3, 6), slice(0, 6)):
        found, skipped = evaluate_scores(
            labels[some], scores[some], masks=masks[some], anomaly_maps=maps[some]
        )
        assert set(found) | set(skipped) == set(full)


def test_contradictory_input_is_refused(scored):
    labels, scores, masks, maps = scored
    with pytest.raises(InputError, match="image 5 is labelled normal and its mask is not empty"):
        evaluate_scores([0, 0, 0, 1, 1, 0], scores, masks=masks, anomaly_maps=maps)
    with pytest.raises(InputError, match=r"masks: expected shape \[6, h, w\]"):
        evaluate_scores(labels, scores, masks=masks[:5], anomaly_maps=maps[:5])
    with pytest.raises(InputError, match="do not fit"):
        evaluate_scores(labels, scores[:4])
    with pytest.raises(InputError, match=r"image labels: expected shape \[b\]"):
        evaluate_scores(labels[:, None], scores[:, None])
