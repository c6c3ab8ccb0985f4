"""The area under the per-region-overlap curve, exact: no thresholds, only sorting."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from jaxflow.errors import InputError
from jaxflow.evaluation.ranking import (
    check_labels,
    check_scores,
    chunks,
    rank_scores,
    require_both_classes,
)

_EIGHT_CONNECTED = np.ones((3, 3), dtype=bool)


def pixel_aupro(masks: ArrayLike, anomaly_maps: ArrayLike, max_fpr: float = 0.3) -> float:
    """Compute the normalized area under the per-region-overlap (PRO) curve up to a FPR.

    PRO(t) = (1 / K) sum_k |{pixels of region k with score >= t}| / |region k|, drawn against
    FPR(t) = |{normal pixels with score >= t}| / |normal pixels| over all thresholds t;
    AUPRO = (1 / max_fpr) * integral of PRO over FPR from 0 to max_fpr.

    A region is an 8-connected component of one image's mask; each counts alike whatever its size.
    Pixels of equal score make a sloped segment, as in a ROC curve, and the curve is cut at max_fpr
    by interpolation. A perfect map gives 1, a constant one max_fpr / 2.

    Args:
      masks: bool or 0/1 [b, h, w].
      anomaly_maps: float16, float32 or float64 [b, h, w]; higher is more anomalous.
      max_fpr: where the integral ends, in (0, 1].

    Returns:
      The area, from 0 to 1.

    Raises:
      InputError: if shapes differ, a score is not finite, the masks hold no anomalous or no normal
        pixel, or max_fpr lies outside (0, 1].
    Reference: arXiv 1911.02357 (uninformed students), Section 4.
    """
    if np.ndim(masks) != 3:
        raise InputError(f"AUPRO: masks must have shape [b, h, w], got {np.shape(masks)}")
    truth, maps = check_labels(masks, "AUPRO"), check_scores(anomaly_maps, "AUPRO")
    ranked = rank_scores(truth, maps, "AUPRO")
    require_both_classes(ranked, "AUPRO")
    return ranked_aupro(ranked.negatives, truth, maps, max_fpr)


def ranked_aupro(
    negatives: NDArray[np.floating],
    masks: NDArray[np.bool_],
    anomaly_maps: NDArray[np.floating],
    max_fpr: float,
) -> float:
    """Compute the AUPRO when the normal pixels' scores are sorted already.

    Args:
      negatives: floating [n], ascending: the scores of all normal pixels.
      masks: bool [b, h, w].
      anomaly_maps: floating [b, h, w], of the type of negatives.
      max_fpr: where the integral ends, in (0, 1].

    Returns:
      The area, from 0 to 1.

    Raises:
      InputError: if max_fpr lies outside (0, 1].
    """
    if not 0.0 < max_fpr <= 1.0:
        raise InputError(f"AUPRO: max_fpr must be in (0, 1], got {max_fpr}")
    scores, weights = anomaly_maps[masks], region_weights(masks)
    total = 0.0
    for part in chunks(scores.size):
        order = np.argsort(scores[part])  # Sorted keys are searched several times faster.
        areas = _areas_under_steps(negatives, scores[part][order], max_fpr)
        total += float(areas @ weights[part][order])
    return min(total / max_fpr, 1.0)  # Rounding can exceed 1.


def region_weights(masks: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return 1 / (area of its region * number of regions) for each anomalous pixel.

    Args:
      masks: bool [b, h, w].

    Returns:
      float64 [n], in the order of `anomaly_maps[masks]`; the sum is 1.
    """
    weights, regions = [], 0
    for mask in masks:
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if rows.size == 0:
            continue
        # Labelling only the box around the regions saves most of the time on large images.
        box = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        labelled, count = ndimage.label(box, structure=_EIGHT_CONNECTED)
        labels = labelled[box]
        weights.append(1.0 / np.bincount(labels)[labels])
        regions += count
    return np.concatenate(weights) / regions if weights else np.zeros(0)


def _areas_under_steps(
    negatives: NDArray[np.floating], scores: NDArray[np.floating], max_fpr: float
) -> NDArray[np.float64]:
    """Integrate, for each anomalous pixel, its share of the PRO curve from 0 to max_fpr.

    As the threshold falls the pixel is found while the FPR goes from `first` (normal pixels above
    it) to `last` (those of equal score added): a ramp, or a step where no score is equal.
    """
    count = negatives.size
    first = (count - np.searchsorted(negatives, scores, side="right")) / count
    last = (count - np.searchsorted(negatives, scores, side="left")) / count
    end = np.minimum(last, max_fpr)
    rise = np.maximum(end - first, 0.0)
    width = last - first
    ramp = np.divide(rise * rise, 2 * width, out=np.zeros_like(rise), where=width > 0)
    return ramp + (max_fpr - end)
