"""Thresholds from normal validation scores only, with the false alarms to expect of them."""

import math

import numpy as np
from numpy.typing import ArrayLike

from jaxflow.errors import InputError
from jaxflow.evaluation.ranking import check_scores


def normal_quantile_threshold(normal_validation_scores: ArrayLike, quantile: float = 0.99) -> float:
    """Choose the threshold that at most a share 1 - quantile of new normal scores should reach.

    The threshold lies just above the k-th smallest of the n scores, k = ceil((n + 1) quantile)
    (split conformal prediction): a new normal score from the same source reaches it with a
    probability of at most (n + 1 - k) / (n + 1) <= 1 - quantile, whatever the distribution. With
    n < quantile / (1 - quantile) no such k exists: then k = n, the largest score, and the rate to
    expect is 1 / (n + 1), as `expected_false_positive_rate` says.

    Args:
      normal_validation_scores: floating, any shape: scores of held-out normal images (or pixels;
        neighbors are alike, so for pixels the rate is a guide and no bound).
      quantile: in (0, 1).

    Returns:
      The threshold; score >= threshold predicts an anomaly.

    Raises:
      InputError: if there is no score, one is not finite, or quantile lies outside (0, 1).

    Example:
      >>> round(normal_quantile_threshold([1.0, 2.0, 3.0, 4.0], 0.6), 6)
      3.0
    """
    scores = check_scores(normal_validation_scores, "validation scores").ravel()
    rank = _conformal_rank(scores.size, quantile)
    kth = np.partition(scores, rank - 1)[rank - 1]
    # One step up in the scores' own type, so that ">=" leaves out scores equal to the k-th.
    return float(np.nextafter(kth, np.asarray(np.inf, scores.dtype)))


def expected_false_positive_rate(count: int, quantile: float = 0.99) -> float:
    """Return the false-positive rate to expect of a threshold from count normal scores.

    Args:
      count: the number of normal validation scores, at least 1.
      quantile: in (0, 1), as given to `normal_quantile_threshold`.

    Returns:
      (n + 1 - k) / (n + 1): the largest probability that a new normal score reaches the threshold.

    Raises:
      InputError: if count < 1 or quantile lies outside (0, 1).

    Example:
      >>> expected_false_positive_rate(199, 0.99)
      0.01
    """
    return (count + 1 - _conformal_rank(count, quantile)) / (count + 1)


def _conformal_rank(count: int, quantile: float) -> int:
    """Return k = ceil((n + 1) quantile), at most n."""
    if count < 1:
        raise InputError(f"threshold: at least one validation score is needed, got {count}")
    if not 0.0 < quantile < 1.0:
        raise InputError(f"threshold: quantile must be between 0 and 1, got {quantile}")
    # The small term undoes rounding such as 0.07 * 100 = 7.000000000000001.
    return min(count, max(1, math.ceil((count + 1) * quantile - 1e-9)))
