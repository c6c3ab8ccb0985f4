"""The five words by which all devices of all hosts share work."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from jax.sharding import PartitionSpec

# The name of the devices' axis, for collectives inside a function of `run`.
AXIS = "devices"
# The two layouts: the same on all devices, or examples along the leading axis, of which each
# device has its part.
REPLICATED = PartitionSpec()
BATCH = PartitionSpec(AXIS)


class Devices(Protocol):
    """All devices of all hosts as one: `PMAP` and `SHARDED` do the same in two ways.

    Every host runs the same program. Only these words make and read what lies on devices; between
    them it is opaque.

    Example:
      >>> step = devices.run(lambda w, x: x @ w, (REPLICATED, BATCH), BATCH)
      >>> part = devices.shard(devices.local_batch(x))
      >>> y = devices.gather(step(devices.replicate(w), part), BATCH)
    """

    def replicate(self, tree: Any) -> Any:
        """Copy arrays to all devices; `run` may take the copies' memory, never the arrays'."""

    def shard(self, batch: Any) -> Any:
        """Split this host's batch over its devices, at the latest when `run`'s function takes it.

        Args:
          batch: arrays [b, ...]; b a multiple of the local devices.
        """

    def gather(self, tree: Any, layout: PartitionSpec) -> Any:
        """Bring arrays to the host, as numpy.

        Args:
          tree: what `replicate`, `shard` or a function of `run` returned.
          layout: what it is. Of a replicated tree comes one copy, of a `BATCH` this host's
            examples [b, ...], in order.
        """

    def run(
        self,
        function: Callable,
        arguments: Sequence[PartitionSpec],
        results: PartitionSpec,
        donate: tuple[int, ...] = (),
    ) -> Callable:
        """Compile a function to run on all devices, each on its part of the batch.

        Args:
          function: of one device's part; may call `mean_over_devices`, `device_index` and
            `device_share`.
          arguments: the layout of each argument.
          results: the layout of all results. What is called replicated must be equal on all
            devices; nothing checks it.
          donate: positions of the arguments whose memory the results may take.

        Returns:
          A function of what `replicate`, `shard` and such functions return.
        """

    def local_batch(self, batch: Any) -> Any:
        """Return this host's part of a global batch [b, ...]; b a multiple of the hosts."""
