"""What a function that runs on all devices can ask of them."""

from typing import Any

import jax

from jaxflow.parallel.contract import AXIS


def mean_over_devices(tree: Any) -> Any:
    """Average each leaf over all devices of all hosts.

    One device has nothing to wait for; a mean all the same would keep XLA from computing parts of
    a step side by side.
    """
    return tree if jax.lax.axis_size(AXIS) == 1 else jax.lax.pmean(tree, AXIS)


def device_index() -> jax.Array:
    """Return the number i32[] of this device among all devices of all hosts."""
    return jax.lax.axis_index(AXIS)


def device_share(count: int) -> int:
    """Return how many of `count` things, shared by all devices of all hosts, are this device's."""
    return count // jax.lax.axis_size(AXIS)
