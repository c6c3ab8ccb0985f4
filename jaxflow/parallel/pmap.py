"""The five words by `jax.pmap`. Only this file knows that arrays have an axis of local devices."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxflow.parallel.batches import local_batch
from jaxflow.parallel.contract import AXIS, REPLICATED

__all__ = ["gather", "local_batch", "replicate", "run", "shard"]


def replicate(tree: Any) -> Any:
    """Copy arrays to all local devices: [...] becomes [devices, ...].

    They lie as results of `run` do: a step compiles once, where flax's `replicate` makes it
    compile twice.
    """

    def copy(leaf: Any) -> np.ndarray:
        leaf = np.asarray(leaf)
        return np.broadcast_to(leaf, (jax.local_device_count(), *leaf.shape))

    mesh = Mesh(np.array(jax.local_devices()), (AXIS,))
    return jax.device_put(jax.tree.map(copy, tree), NamedSharding(mesh, PartitionSpec(AXIS)))


def shard(batch: Any) -> Any:
    """Split this host's batch over its devices: [b, ...] becomes [devices, b / devices, ...]."""
    devices = jax.local_device_count()
    return jax.tree.map(lambda x: x.reshape(devices, -1, *x.shape[1:]), batch)


def gather(tree: Any, layout: PartitionSpec) -> Any:
    """Bring the first device's copy to the host, or all of a batch [b, ...]."""
    if layout == REPLICATED:
        return jax.tree.map(lambda x: np.asarray(x.addressable_shards[0].data)[0], tree)
    return jax.tree.map(lambda x: np.asarray(x).reshape(-1, *x.shape[2:]), tree)


def run(
    function: Callable,
    arguments: Sequence[PartitionSpec],
    results: PartitionSpec,
    donate: tuple[int, ...] = (),
) -> Callable:
    """Compile a function to run on all devices; of every layout each has one entry."""
    del arguments, results
    return jax.pmap(function, axis_name=AXIS, donate_argnums=donate)
