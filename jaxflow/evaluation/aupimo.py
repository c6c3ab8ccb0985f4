"""AUPIMO: how much of each anomaly is found while normal images raise next to no false alarm."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jaxflow.errors import InputError
from jaxflow.evaluation.ranking import check_labels, check_scores

FPR_RANGE = (1e-5, 1e-4)


class Aupimo(NamedTuple):
    """The mean over anomalous images, and float64 [b]: NaN for images without anomalous pixels."""

    mean: float
    per_image: NDArray[np.float64]


def pixel_aupimo(
    masks: ArrayLike,
    anomaly_maps: ArrayLike,
    labels: ArrayLike | None = None,
    fpr_range: tuple[float, float] = FPR_RANGE,
) -> Aupimo:
    """Compute the area under the per-image overlap curve (AUPIMO) of each anomalous image.

    FPR(t) = mean over the normal images of |{pixels with score >= t}| / |pixels|;
    PIMO_i(t) = |{anomalous pixels of image i with score >= t}| / |anomalous pixels of image i|;
    AUPIMO_i = (1 / log(high / low)) * integral of PIMO_i over log FPR from log low to log high.

    Only normal images set the FPR: what is found beside a defect costs nothing. The range is that
    of few false alarms, 1 to 10 of 100,000 pixels. Pixels of equal score make a segment that is
    linear in FPR, as in `pixel_aupro`, and the curve is cut at both ends by interpolation.

    Args:
      masks: bool or 0/1 [b, h, w].
      anomaly_maps: float16, float32 or float64 [b, h, w]; higher is more anomalous.
      labels: bool or 0/1 [b], 0 for the normal images; None: those with an empty mask.
      fpr_range: low and high, 0 < low < high <= 1.

    Returns:
      The mean and the area of each image, from 0 to 1.

    Raises:
      InputError: if shapes differ, a score is not finite, the range is none, no pixel is anomalous,
        or there are no normal images or so few that one of their pixels is more than low.

    Reference: arXiv 2401.01984, Section 3.
    """
    low, high = fpr_range
    if not 0.0 < low < high <= 1.0:
        raise InputError(f"AUPIMO: expected 0 < low < high <= 1 as fpr_range, got {low} and {high}")
    truth, maps = check_labels(masks, "AUPIMO"), check_scores(anomaly_maps, "AUPIMO")
    if truth.ndim != 3 or truth.shape != maps.shape:
        raise InputError(
            f"AUPIMO: masks and maps must have one shape [b, h, w], got {truth.shape} and "
            f"{maps.shape}"
        )
    empty = np.logical_not(truth.any(axis=(1, 2)))
    normal = empty if labels is None else np.logical_not(check_labels(labels, "AUPIMO"))
    if normal.shape != empty.shape or (normal & ~empty).any():
        raise InputError(
            "AUPIMO: expected a label for each image, and an empty mask for each normal one"
        )
    if reason := why_no_aupimo(truth, normal, low):
        raise InputError(f"AUPIMO: {reason}")
    return normal_aupimo(truth, maps, normal, fpr_range)


def why_no_aupimo(
    masks: NDArray[np.bool_], normal: NDArray[np.bool_], low: float = FPR_RANGE[0]
) -> str | None:
    """Say why AUPIMO cannot be computed.

    Args:
      masks: bool [b, h, w].
      normal: bool [b], which images are normal.
      low: the smallest false-positive rate that must be told from 0.

    Returns:
      The reason, or None where it can.
    """
    if not normal.any():
        return "no normal image in the test set"
    if not masks.any():
        return "no anomalous pixel in the test set"
    pixels = int(normal.sum()) * masks[0].size
    needed = math.ceil(1 / low * (1 - 1e-12))  # 1 / 1e-5 is a little less than 100,000.
    if pixels < needed:
        return (
            f"the normal images of the test set have {pixels} pixels, and a false-positive rate of "
            f"{low:g} needs {needed}"
        )
    return None


def normal_aupimo(
    masks: NDArray[np.bool_],
    anomaly_maps: NDArray[np.floating],
    normal: NDArray[np.bool_],
    fpr_range: tuple[float, float] = FPR_RANGE,
) -> Aupimo:
    """Compute AUPIMO where the input is checked and nothing stands in the way.

    Args:
      masks: bool [b, h, w].
      anomaly_maps: floating [b, h, w].
      normal: bool [b], which images set the false-positive rate.
      fpr_range: low and high.

    Returns:
      The mean and the area of each image.
    """
    scores = anomaly_maps[normal].ravel()
    # Maps have one size, so the mean of the images' rates is the rate over all their pixels. The
    # rate exceeds high below the score of this rank, and nothing that is found there counts.
    rank = scores.size - 1 - min(int(fpr_range[1] * scores.size), scores.size - 1)
    least = np.partition(scores, rank)[rank]
    alarms = np.sort(scores[scores >= least])
    areas = np.full(len(masks), np.nan)
    for i in np.flatnonzero(masks.any(axis=(1, 2))):
        found = anomaly_maps[i][masks[i]]
        steps = _areas_under_steps(alarms, scores.size, found[found >= least], fpr_range)
        areas[i] = min(float(steps.sum()) / found.size, 1.0)  # Rounding can exceed 1.
    return Aupimo(float(np.nanmean(areas)), areas)


def _areas_under_steps(
    alarms: NDArray[np.floating],
    count: int,
    scores: NDArray[np.floating],
    fpr_range: tuple[float, float],
) -> NDArray[np.float64]:
    """Integrate, for each anomalous pixel, whether it is found over the logarithm of the FPR.

    As the threshold falls the pixel is found while the FPR goes from `first` (normal pixels above
    it) to `last` (those of equal score added): a ramp, or a step where no score is equal.
    """
    first = (alarms.size - np.searchsorted(alarms, scores, side="right")) / count
    last = (alarms.size - np.searchsorted(alarms, scores, side="left")) / count
    start, end = np.clip(first, *fpr_range), np.clip(last, *fpr_range)
    width = last - first
    rise = end - start - first * np.log(end / start)
    ramp = np.divide(rise, width, out=np.zeros_like(rise), where=width > 0)
    return (ramp + np.log(fpr_range[1] / end)) / math.log(fpr_range[1] / fpr_range[0])
