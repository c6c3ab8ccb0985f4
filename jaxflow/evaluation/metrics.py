"""Exact metrics over images or pixels: AUROC, the best F1, average precision, the ROC curve."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jaxflow.errors import InputError
from jaxflow.evaluation.ranking import (
    RankedScores,
    chunks,
    count_at_least,
    counts_at_positives,
    rank_scores,
    require_both_classes,
)


class BestF1(NamedTuple):
    """The largest F1 and the highest threshold that attains it."""

    f1: float
    threshold: float


class RocPoints(NamedTuple):
    """Points of a ROC curve in the order of falling thresholds; the first is (0, 0)."""

    fpr: NDArray[np.float64]
    tpr: NDArray[np.float64]


def auroc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Compute the area under the ROC curve exactly, a tie counting one half.

    AUROC = (#{n < p} + #{n = p} / 2) / (#n #p) over all pairs of a normal n and an anomalous p.

    Args:
      labels: bool or 0/1, any shape; true is anomalous.
      scores: float16, float32 or float64 of the same shape; higher is more anomalous.

    Returns:
      The area, from 0 to 1.

    Raises:
      InputError: if shapes differ, a score is not finite, or one of the two classes is missing.

    Example:
      >>> auroc([0, 0, 1, 1], [0.1, 0.4, 0.4, 0.8])
      0.875
    """
    ranked = rank_scores(labels, scores)
    require_both_classes(ranked, "AUROC")
    return ranked_auroc(ranked)


def image_auroc(labels: ArrayLike, anomaly_scores: ArrayLike) -> float:
    """Compute the AUROC over images.

    Args:
      labels: bool or 0/1 [b].
      anomaly_scores: floating [b].

    Returns:
      The area, from 0 to 1.

    Raises:
      InputError: as `auroc`, and if the arrays are not one-dimensional.
    """
    if np.ndim(labels) != 1:
        raise InputError(f"image AUROC: labels must have shape [b], got {np.shape(labels)}")
    return auroc(labels, anomaly_scores)


def pixel_auroc(masks: ArrayLike, anomaly_maps: ArrayLike) -> float:
    """Compute the AUROC over the pixels of all images together.

    Args:
      masks: bool or 0/1 [b, h, w].
      anomaly_maps: floating [b, h, w].

    Returns:
      The area, from 0 to 1.

    Raises:
      InputError: as `auroc`, and if the arrays are not [b, h, w].
    """
    if np.ndim(masks) != 3:
        raise InputError(f"pixel AUROC: masks must have shape [b, h, w], got {np.shape(masks)}")
    return auroc(masks, anomaly_maps)


def f1_max(labels: ArrayLike, scores: ArrayLike) -> BestF1:
    """Find the best F1 over every threshold, where score >= threshold predicts an anomaly.

    F1 = 2 TP / (2 TP + FP + FN). The threshold is chosen on the labels it is judged by: it bounds
    what a threshold could reach and is no threshold to deploy (see `normal_quantile_threshold`).

    Args:
      labels: bool or 0/1, any shape.
      scores: floating, the same shape.

    Returns:
      f1, from 0 to 1, and the highest threshold that attains it, one of the scores.

    Raises:
      InputError: if shapes differ, a score is not finite, or one of the two classes is missing.

    Example:
      >>> f1_max([0, 0, 1, 1], [0.0, 0.5, 0.25, 1.0])
      BestF1(f1=0.8, threshold=0.25)
    """
    ranked = rank_scores(labels, scores)
    require_both_classes(ranked, "F1")
    return ranked_f1_max(ranked)


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """Compute the average precision, sum_k (R_k - R_{k-1}) P_k over falling thresholds.

    Args:
      labels: bool or 0/1, any shape.
      scores: floating, the same shape.

    Returns:
      The average precision, from 0 to 1.

    Raises:
      InputError: if shapes differ, a score is not finite, or one of the two classes is missing.
    """
    ranked = rank_scores(labels, scores)
    require_both_classes(ranked, "average precision")
    return ranked_average_precision(ranked)


def roc_points(labels: ArrayLike, scores: ArrayLike, max_points: int = 2000) -> RocPoints:
    """Return points on the ROC curve for drawing; each point is exact.

    Args:
      labels: bool or 0/1, any shape.
      scores: floating, the same shape.
      max_points: the largest number of thresholds; with fewer scores every one is a threshold.

    Returns:
      fpr and tpr, float64 [n + 1], from (0, 0) to (1, 1).

    Raises:
      InputError: if shapes differ, a score is not finite, or one of the two classes is missing.
    """
    ranked = rank_scores(labels, scores)
    require_both_classes(ranked, "ROC curve")
    picked = [_evenly(scores, max_points // 2) for scores in ranked]
    thresholds = np.unique(np.concatenate(picked))[::-1]
    fpr = count_at_least(ranked.negatives, thresholds) / ranked.negatives.size
    tpr = count_at_least(ranked.positives, thresholds) / ranked.positives.size
    return RocPoints(np.concatenate([[0.0], fpr]), np.concatenate([[0.0], tpr]))


def ranked_auroc(ranked: RankedScores) -> float:
    """Compute the AUROC of scores that are split and sorted; both classes must be there."""
    negatives, positives = ranked
    twice = 0  # A Python integer: exact, however many pairs there are.
    for part in chunks(positives.size):
        twice += int(np.searchsorted(negatives, positives[part], side="left").sum())
        twice += int(np.searchsorted(negatives, positives[part], side="right").sum())
    return twice / (2 * negatives.size * positives.size)


def ranked_f1_max(ranked: RankedScores) -> BestF1:
    """Find the best F1 of scores that are split and sorted; both classes must be there."""
    best = BestF1(-1.0, float("nan"))
    for thresholds, true_positives, false_positives in counts_at_positives(ranked):
        f1 = 2 * true_positives / (ranked.positives.size + true_positives + false_positives)
        index = int(np.argmax(f1))  # The first of equals: the highest threshold.
        if f1[index] > best.f1:
            best = BestF1(float(f1[index]), float(thresholds[index]))
    return best


def ranked_average_precision(ranked: RankedScores) -> float:
    """Compute the average precision of scores that are split and sorted."""
    total = 0.0
    for _, true_positives, false_positives in counts_at_positives(ranked):
        total += float((true_positives / (true_positives + false_positives)).sum())
    return total / ranked.positives.size


def _evenly(ascending: NDArray[np.floating], count: int) -> NDArray[np.floating]:
    """Pick at most count of the sorted scores at even ranks, the first and the last included."""
    if ascending.size <= count:
        return ascending
    return ascending[np.linspace(0, ascending.size - 1, max(count, 2)).astype(np.intp)]
