"""Use every word once, on a global batch, by each of the two ways; also a program.

    python words.py FILE.npz [--coordinator ADDRESS --process NUMBER --processes COUNT]

It writes what this process gathers, under "pmap/..." and "sharded/...".
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np

from jaxflow.parallel import (
    BATCH,
    PMAP,
    REPLICATED,
    SHARDED,
    check_batch_size,
    device_index,
    device_share,
    mean_over_devices,
    padded_size,
)

WAYS = {"pmap": PMAP, "sharded": SHARDED}
STEPS = 3
EXAMPLES = np.arange(16 * 3, dtype=np.float32).reshape(16, 3)
STATE = {"sum": np.arange(3, dtype=np.float32), "count": np.int32(0)}


def step(state, examples):
    """Add the mean of the global batch."""
    return {
        "sum": state["sum"] + mean_over_devices(examples.mean(0)),
        "count": state["count"] + 1,
    }


def describe(state, examples):
    """Give for each example its sum of products, its device, and that device's share of 80."""
    count = len(examples)
    return {
        "product": examples @ state["sum"],
        "device": jnp.full(count, device_index()),
        "share": jnp.full(count, device_share(80)),
    }


def use(devices):
    """Return what this process gathers after some steps."""
    check_batch_size("examples", len(EXAMPLES))
    local = devices.local_batch(EXAMPLES)
    examples, state = devices.shard(local), devices.replicate(STATE)
    take = devices.run(step, (REPLICATED, BATCH), REPLICATED, donate=(0,))
    for _ in range(STEPS):
        state = take(state, examples)
    told = devices.run(describe, (REPLICATED, BATCH), BATCH)(state, examples)
    return {
        "local": local,
        "back": devices.gather(examples, BATCH),
        "padded": [padded_size(n) for n in range(1, 18)],
        **devices.gather(state, REPLICATED),
        **devices.gather(told, BATCH),
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    parser.add_argument("--coordinator")
    parser.add_argument("--process", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    if options.processes > 1:
        jax.distributed.initialize(options.coordinator, options.processes, options.process)
    got = {f"{way}/{name}": x for way, by in WAYS.items() for name, x in use(by).items()}
    np.savez(options.file, **got)


if __name__ == "__main__":
    main()
