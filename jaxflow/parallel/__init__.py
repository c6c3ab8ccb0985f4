"""How local devices and hosts share work."""

from jaxflow.parallel.batches import padded_batches
from jaxflow.parallel.pmap import (
    check_batch_size,
    device_index,
    local_part,
    mean_over_devices,
    over_devices,
    replicate,
    shard,
    unreplicate,
    unshard,
)

__all__ = [
    "check_batch_size",
    "device_index",
    "local_part",
    "mean_over_devices",
    "over_devices",
    "padded_batches",
    "replicate",
    "shard",
    "unreplicate",
    "unshard",
]
