"""All metrics of one set of scores in one call, and the reasons for those that are missing."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jaxflow.errors import InputError
from jaxflow.evaluation.aupimo import normal_aupimo, why_no_aupimo
from jaxflow.evaluation.aupro import ranked_aupro
from jaxflow.evaluation.metrics import ranked_auroc, ranked_average_precision, ranked_f1_max
from jaxflow.evaluation.ranking import RankedScores, check_labels, check_scores, rank_scores

RANKING_METRICS = ("auroc", "average_precision", "f1_max", "f1_max_threshold")
THRESHOLD_METRICS = ("threshold", "fpr_at_threshold", "tpr_at_threshold")


class Evaluation(NamedTuple):
    """Metrics by name, and for each that could not be computed the reason."""

    metrics: dict[str, float]
    skipped: dict[str, str]


def evaluate_scores(
    labels: ArrayLike,
    anomaly_scores: ArrayLike,
    *,
    masks: ArrayLike | None = None,
    anomaly_maps: ArrayLike | None = None,
    image_threshold: float | None = None,
    pixel_threshold: float | None = None,
    max_fpr: float = 0.3,
    defects: Sequence[str] | None = None,
) -> Evaluation:
    """Compute every image and pixel metric that the given labels and masks allow.

    Args:
      labels: bool or 0/1 [b]; 1 is anomalous.
      anomaly_scores: floating [b].
      masks: bool or 0/1 [b, h, w], or None: then the pixel metrics are skipped.
      anomaly_maps: floating [b, h, w], or None: then the pixel metrics are skipped.
      image_threshold: from normal validation scores; score >= threshold predicts an anomaly.
      pixel_threshold: the same for pixels.
      max_fpr: where the integral of AUPRO ends.
      defects: the kinds of defect [b], of normal images any; None: not told apart.

    Returns:
      metrics: image_ and pixel_ auroc, average_precision, f1_max, f1_max_threshold, threshold,
        fpr_at_threshold and tpr_at_threshold, pixel_aupro and pixel_aupimo. Where there are
        several kinds of defect, also image_auroc/KIND and pixel_aupimo/KIND: the images of one kind
        against all normal images. What cannot be computed is absent.
      skipped: for each absent metric, the reason.

    Raises:
      InputError: if shapes differ, a score is not finite, a label is not 0/1, or the mask of an
        image that is labelled normal is not empty.
    """
    truth = check_labels(labels, "image labels")
    scores = check_scores(anomaly_scores, "anomaly scores")
    if truth.ndim != 1:
        raise InputError(f"image labels: expected shape [b], got {truth.shape}")
    if defects is not None and len(defects) != truth.size:
        raise InputError(
            f"defects: expected one for each of {truth.size} images, got {len(defects)}"
        )
    result = Evaluation({}, {})
    ranked = rank_scores(truth, scores, "anomaly scores")
    _add_ranking(result, "image", ranked)
    _add_threshold(result, "image", ranked, image_threshold)
    areas = _add_pixels(result, truth, masks, anomaly_maps, pixel_threshold, max_fpr)
    if defects is not None:
        _add_by_defect(result, truth, scores, areas, defects)
    return result


def _add_pixels(
    result: Evaluation,
    labels: np.ndarray,
    masks: ArrayLike | None,
    anomaly_maps: ArrayLike | None,
    threshold: float | None,
    max_fpr: float,
) -> NDArray[np.float64] | None:
    """Add the pixel metrics, and return AUPIMO [b]; one sort of normal pixels serves them."""
    if masks is None or anomaly_maps is None:
        reason = "no masks" if masks is None else "no anomaly maps"
        names = [f"pixel_{name}" for name in RANKING_METRICS + THRESHOLD_METRICS]
        names += ["pixel_aupro", "pixel_aupimo"]
        result.skipped.update(dict.fromkeys(names, reason))
        return None
    truth, maps = check_labels(masks, "masks"), check_scores(anomaly_maps, "anomaly maps")
    _check_masks(labels, truth)
    ranked = rank_scores(truth, maps, "anomaly maps")
    _add_ranking(result, "pixel", ranked)
    _add_threshold(result, "pixel", ranked, threshold)
    reason_missing = result.skipped.get("pixel_auroc")
    if reason_missing:
        result.skipped["pixel_aupro"] = reason_missing
    else:
        result.metrics["pixel_aupro"] = ranked_aupro(ranked.negatives, truth, maps, max_fpr)
    if reason_missing := why_no_aupimo(truth, ~labels):
        result.skipped["pixel_aupimo"] = reason_missing
        return None
    result.metrics["pixel_aupimo"], areas = normal_aupimo(truth, maps, ~labels)
    return areas


def _add_by_defect(
    result: Evaluation,
    labels: np.ndarray,
    scores: np.ndarray,
    areas: NDArray[np.float64] | None,
    defects: Sequence[str],
) -> None:
    """Add the metrics of each kind of defect, if there are several."""
    names = np.asarray(defects)
    kinds = sorted(set(names[labels].tolist()))
    if len(kinds) < 2:
        return
    for kind in kinds:
        shown = labels & (names == kind)
        if not labels.all():
            ranked = RankedScores(np.sort(scores[~labels]), np.sort(scores[shown]))
            result.metrics[f"image_auroc/{kind}"] = ranked_auroc(ranked)
        if areas is not None and not np.isnan(areas[shown]).all():
            result.metrics[f"pixel_aupimo/{kind}"] = float(np.nanmean(areas[shown]))


def _check_masks(labels: np.ndarray, masks: np.ndarray) -> None:
    """Raise InputError if masks are not [b, h, w] or contradict the labels."""
    if masks.ndim != 3 or masks.shape[0] != labels.size:
        raise InputError(f"masks: expected shape [{labels.size}, h, w], got {masks.shape}")
    wrong = np.flatnonzero(masks.any(axis=(1, 2)) & ~labels)
    if wrong.size:
        raise InputError(
            f"masks: image {wrong[0]} is labelled normal and its mask is not empty ({wrong.size} "
            "such images); correct the label or the mask"
        )


def _add_ranking(result: Evaluation, prefix: str, ranked: RankedScores) -> None:
    """Add the metrics that need both classes, or say which class is missing."""
    for kind, scores in (("normal", ranked.negatives), ("anomalous", ranked.positives)):
        if scores.size == 0:
            names = [f"{prefix}_{name}" for name in RANKING_METRICS]
            result.skipped.update(dict.fromkeys(names, f"no {kind} {prefix} in the test set"))
            return
    best = ranked_f1_max(ranked)
    result.metrics[f"{prefix}_auroc"] = ranked_auroc(ranked)
    result.metrics[f"{prefix}_average_precision"] = ranked_average_precision(ranked)
    result.metrics[f"{prefix}_f1_max"] = best.f1
    result.metrics[f"{prefix}_f1_max_threshold"] = best.threshold


def _add_threshold(
    result: Evaluation, prefix: str, ranked: RankedScores, threshold: float | None
) -> None:
    """Add the error rates at a threshold that was chosen before the test set was seen."""
    if threshold is None:
        names = [f"{prefix}_{name}" for name in THRESHOLD_METRICS]
        result.skipped.update(dict.fromkeys(names, "no threshold from validation scores"))
        return
    result.metrics[f"{prefix}_threshold"] = float(threshold)
    for name, kind, scores in (
        ("fpr", "normal", ranked.negatives),
        ("tpr", "anomalous", ranked.positives),
    ):
        if scores.size == 0:
            result.skipped[f"{prefix}_{name}_at_threshold"] = f"no {kind} {prefix} in the test set"
        else:
            # Searched in the scores' own type: a float64 key would copy all scores as float64.
            key = np.asarray(threshold, dtype=scores.dtype)
            above = scores.size - int(np.searchsorted(scores, key, side="left"))
            result.metrics[f"{prefix}_{name}_at_threshold"] = above / scores.size
