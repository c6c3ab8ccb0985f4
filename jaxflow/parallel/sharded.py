"""The five words by `jax.jit` over a mesh: arrays are global, none has an axis of devices."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxflow.parallel.batches import local_batch
from jaxflow.parallel.contract import AXIS, BATCH, REPLICATED

__all__ = ["gather", "local_batch", "replicate", "run", "shard"]


def replicate(tree: Any) -> Any:
    """Copy arrays to all devices."""
    arrays = jax.tree.map(np.asarray, tree)
    return jax.make_array_from_process_local_data(_place(REPLICATED), arrays)


def shard(batch: Any) -> Any:
    """Make this host's batch its part of the global batch; a single host's is that already."""
    if jax.process_count() == 1:
        return batch  # Placing it with the call costs less than doing so before.
    return jax.make_array_from_process_local_data(_place(BATCH), batch)


def gather(tree: Any, layout: PartitionSpec) -> Any:
    """Bring arrays to the host; of a global batch what this host's devices hold."""

    def on_host(x: jax.Array) -> np.ndarray:
        if layout == REPLICATED or jax.process_count() == 1:
            return np.asarray(x)
        parts = sorted(x.addressable_shards, key=lambda part: part.index[0].start)
        return np.concatenate([part.data for part in parts])

    return jax.tree.map(on_host, tree)


def run(
    function: Callable,
    arguments: Sequence[PartitionSpec],
    results: PartitionSpec,
    donate: tuple[int, ...] = (),
) -> Callable:
    """Compile a function to run on all devices."""
    # With the check, gradients by replicated parameters would be summed over devices unasked.
    mapped = jax.shard_map(
        function, mesh=_mesh(), in_specs=tuple(arguments), out_specs=results, check_vma=False
    )
    return jax.jit(
        mapped,
        in_shardings=tuple(map(_place, arguments)),
        out_shardings=_place(results),
        donate_argnums=donate,
    )


def _mesh() -> Mesh:
    """Return all devices, each host's side by side: a host's part of a batch is one piece."""
    hosts = range(jax.process_count())
    return Mesh(np.array([d for host in hosts for d in jax.local_devices(host)]), (AXIS,))


def _place(spec: PartitionSpec) -> NamedSharding:
    return NamedSharding(_mesh(), spec)
