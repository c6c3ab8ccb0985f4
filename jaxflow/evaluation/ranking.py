"""Checked scores, split by class and sorted: what every metric here is counted from.

Each class is sorted by itself and searched in the other: that gives the exact counts behind AUROC,
AUPRO and F1 without a sort of everything together, without thresholds, and in little memory.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jaxflow.errors import InputError

CHUNK = 1 << 20  # Scores searched at once: bounds the int64 positions to 8 MB an array.


class RankedScores(NamedTuple):
    """The scores of each class, ascending, both of one floating-point type."""

    negatives: NDArray[np.floating]
    positives: NDArray[np.floating]


def rank_scores(labels: ArrayLike, scores: ArrayLike, names: str = "scores") -> RankedScores:
    """Split scores by label and sort each class.

    Args:
      labels: bool or 0/1, any shape; true is anomalous.
      scores: float16, float32 or float64, the shape of labels; higher is more anomalous.
      names: what the scores are called in an error.

    Returns:
      negatives and positives, ascending, float32 or float64; either may be empty.

    Raises:
      InputError: if the shapes differ, nothing is given, a score is not finite or a label not 0/1.
    """
    truth, values = check_labels(labels, names), check_scores(scores, names)
    if truth.shape != values.shape:
        raise InputError(
            f"{names}: labels or masks of shape {truth.shape} do not fit scores of shape "
            f"{values.shape}; give one label for each score"
        )
    positives = values[truth]
    negatives = values[~truth]
    positives.sort()
    negatives.sort()
    return RankedScores(negatives, positives)


def check_scores(scores: ArrayLike, name: str) -> NDArray[np.floating]:
    """Return the scores as float32 or float64, or raise InputError on none or a non-finite one."""
    values = np.asarray(scores)
    if values.size == 0:
        raise InputError(f"{name}: no score was given; at least one is needed")
    if values.dtype not in (np.float32, np.float64):
        values = values.astype(np.float32 if values.dtype.itemsize <= 2 else np.float64)
    # The extremes carry every NaN and infinity, and need no temporary array of booleans.
    if not (np.isfinite(values.min()) and np.isfinite(values.max())):
        bad = int(values.size - np.count_nonzero(np.isfinite(values)))
        raise InputError(
            f"{name}: {bad} of {values.size} scores are NaN or infinite; expected finite numbers, "
            "check that training did not diverge"
        )
    return values


def check_labels(labels: ArrayLike, name: str) -> NDArray[np.bool_]:
    """Return labels or masks as bool, or raise InputError where they are not 0 or 1."""
    values = np.asarray(labels)
    if values.dtype == np.bool_:
        return values
    truth = values != 0
    if values.size and not np.array_equal(truth, values):
        raise InputError(
            f"{name}: labels or masks must be bool or 0 and 1, got values from {values.min()} to "
            f"{values.max()}; binarize them first"
        )
    return truth


def require_both_classes(ranked: RankedScores, name: str) -> None:
    """Raise InputError unless there is at least one negative and one positive score."""
    for kind, scores in (("normal", ranked.negatives), ("anomalous", ranked.positives)):
        if scores.size == 0:
            raise InputError(f"{name}: no {kind} example among the labels; both kinds are needed")


def chunks(size: int) -> Iterator[slice]:
    """Yield slices of at most CHUNK that cover range(size) in order."""
    for start in range(0, size, CHUNK):
        yield slice(start, min(start + CHUNK, size))


def count_at_least(
    ascending: NDArray[np.floating], thresholds: NDArray[np.floating]
) -> NDArray[np.intp]:
    """Count, for each threshold, the scores at or above it."""
    return ascending.size - np.searchsorted(ascending, thresholds, side="left")


def counts_at_positives(
    ranked: RankedScores,
) -> Iterator[tuple[NDArray[np.floating], NDArray[np.intp], NDArray[np.intp]]]:
    """Yield thresholds with their true and false positives, at each positive score, descending.

    Between two positive scores a lower threshold only adds false positives, so these thresholds
    hold the best F1 and every step of the precision-recall curve.
    """
    for part in chunks(ranked.positives.size):
        thresholds = ranked.positives[::-1][part]
        yield (
            thresholds,
            count_at_least(ranked.positives, thresholds),
            count_at_least(ranked.negatives, thresholds),
        )
