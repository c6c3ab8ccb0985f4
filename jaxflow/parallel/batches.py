"""Batches of one size over a whole split."""

from collections.abc import Iterator

import numpy as np


def padded_batches(n: int, batch_size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Visit each of n examples exactly once, in batches of one size.

    Args:
      n: number of examples.
      batch_size: examples in a batch.

    Yields:
      indices i64[batch_size] and valid bool[batch_size]. Only the last batch can have indices that
      are not valid, at its end: they repeat the last example, and their results are to be dropped.

    Raises:
      ValueError: if batch_size is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    for start in range(0, n, batch_size):
        indices = np.arange(start, start + batch_size, dtype=np.int64)
        yield np.minimum(indices, n - 1), indices < n
