"""Sizes of batches that devices can share."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from jaxflow.errors import InputError


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


def padded_size(batch_size: int) -> int:
    """Return the smallest size of a batch, from batch_size on, that the local devices can share."""
    devices = jax.local_device_count()
    return -(-batch_size // devices) * devices


def local_batch(batch: Any) -> Any:
    """Return this host's part of a global batch [b, ...]; b a multiple of the hosts."""
    host, hosts = jax.process_index(), jax.process_count()

    def part(x: Any) -> Any:
        size = len(x) // hosts
        return x[host * size : (host + 1) * size]

    return jax.tree.map(part, batch)


def check_batch_size(name: str, batch_size: int) -> None:
    """Check that all devices of all hosts can share a batch equally.

    Args:
      name: of the configuration key, for the message.
      batch_size: images in a batch.

    Raises:
      InputError: if they cannot.
    """
    devices = jax.device_count()
    if batch_size < 1 or batch_size % devices:
        nearest = max(1, round(batch_size / devices)) * devices
        raise InputError(
            f"{name} {batch_size}: {devices} devices cannot share it equally; "
            f"use a multiple of {devices}, such as {nearest}"
        )
