"""How local devices and hosts share work: five words, and two ways to do what they say.

A function that computes on devices takes one of `PMAP` and `SHARDED` as an argument.
"""

from jaxflow.parallel import pmap, sharded
from jaxflow.parallel.batches import check_batch_size, padded_batches, padded_size
from jaxflow.parallel.collectives import device_index, device_share, mean_over_devices
from jaxflow.parallel.contract import BATCH, REPLICATED, Devices

PMAP: Devices = pmap
SHARDED: Devices = sharded

__all__ = [
    "BATCH",
    "PMAP",
    "REPLICATED",
    "SHARDED",
    "Devices",
    "check_batch_size",
    "device_index",
    "device_share",
    "mean_over_devices",
    "padded_batches",
    "padded_size",
]
