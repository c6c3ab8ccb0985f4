"""How local devices and hosts share work. Only this file knows that it is `jax.pmap`."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxflow.errors import InputError

_AXIS = "devices"


def replicate(tree: Any) -> Any:
    """Copy each leaf to all local devices, with a leading device axis.

    The arrays bear the very sharding that `over_devices` returns: a step compiles once, where
    flax's `replicate` makes it compile twice.
    """
    devices = np.array(jax.local_devices())
    sharding = NamedSharding(Mesh(devices, (_AXIS,)), PartitionSpec(_AXIS))

    def copy(leaf: Any) -> jax.Array:
        leaf = np.asarray(leaf)
        return jax.device_put(np.broadcast_to(leaf, (len(devices), *leaf.shape)), sharding)

    return jax.tree.map(copy, tree)


def unreplicate(tree: Any) -> Any:
    """Return each leaf as the first local device has it, on the host."""
    return jax.tree.map(lambda x: np.asarray(x.addressable_shards[0].data)[0], tree)


def over_devices(function: Callable, donate: tuple[int, ...] = ()) -> Callable:
    """Run a function on all devices, each on its slice of the arguments' leading axis.

    Args:
      function: of one device's arguments; may call `mean_over_devices`.
      donate: positions of the arguments whose memory the results may take.
    """
    return jax.pmap(function, axis_name=_AXIS, donate_argnums=donate)


def mean_over_devices(tree: Any) -> Any:
    """Average each leaf over all devices of all hosts, inside a function of `over_devices`.

    One device has nothing to wait for; a mean all the same would keep XLA from computing parts of
    a step side by side.
    """
    return tree if jax.device_count() == 1 else jax.lax.pmean(tree, _AXIS)


def device_index() -> jax.Array:
    """Return the number i32[] of this device, inside a function of `over_devices`."""
    return jax.lax.axis_index(_AXIS)


def shard(batch: Any) -> Any:
    """Split this host's batch over its devices: [b, ...] becomes [devices, b / devices, ...]."""
    devices = jax.local_device_count()
    return jax.tree.map(lambda x: x.reshape(devices, -1, *x.shape[1:]), batch)


def unshard(tree: Any) -> Any:
    """Bring results back to the host: [devices, b / devices, ...] becomes numpy [b, ...]."""
    return jax.tree.map(lambda x: np.asarray(x).reshape(-1, *x.shape[2:]), tree)


def local_part(batch: np.ndarray) -> np.ndarray:
    """Return this host's part of a global batch."""
    part = len(batch) // jax.process_count()
    return batch[jax.process_index() * part : (jax.process_index() + 1) * part]


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
