"""Time a compiled function: compilation apart, warm-up apart, synchronized."""

import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax

_WARM_UPS = 2


@dataclasses.dataclass(frozen=True)
class Timing:
    """How long calls of one function took.

    Attributes:
      compile_s: tracing and compilation, seconds.
      seconds: of each timed call.
      memory_mb: what the compiler plans to hold on each device (arguments, results and
        temporaries), 10^6 bytes; None where it does not say.
    """

    compile_s: float
    seconds: tuple[float, ...]
    memory_mb: float | None

    @property
    def median_s(self) -> float:
        """The median call, seconds."""
        return statistics.median(self.seconds)

    def row(self, what: str, batch: int) -> dict[str, Any]:
        """Lay the timing out as a row of a table.

        Args:
          what: the name of the function.
          batch: images of a call.
        """
        return {
            "what": what,
            "batch": batch,
            "compile s": self.compile_s,
            "median ms": 1e3 * self.median_s,
            "min ms": 1e3 * min(self.seconds),
            "max ms": 1e3 * max(self.seconds),
            "images/s": batch / self.median_s,
            "memory MB": self.memory_mb,
        }


def measure(
    function: Any,
    arguments: tuple[Any, ...],
    *,
    repeats: int,
    advance: Callable[[tuple[Any, ...], Any], tuple[Any, ...]] | None = None,
) -> Timing:
    """Compile a function, warm it up, and time single calls until their results are ready.

    Args:
      function: as `jax.jit` or `Devices.run` returns it.
      arguments: of the first call; on the device already, unless their transfer is to be timed.
      repeats: timed calls, at least 1.
      advance: makes the next call's arguments of a call's arguments and its result, for a function
        that takes its arguments' memory; None: the same arguments each time.

    Raises:
      ValueError: if repeats is below 1.
    """
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, got {repeats}")
    start = time.perf_counter()
    compiled = function.lower(*arguments).compile()
    compile_s = time.perf_counter() - start
    seconds = []
    for _ in range(_WARM_UPS + repeats):
        start = time.perf_counter()
        result = jax.block_until_ready(compiled(*arguments))
        seconds.append(time.perf_counter() - start)
        arguments = arguments if advance is None else advance(arguments, result)
    return Timing(compile_s, tuple(seconds[_WARM_UPS:]), _planned_memory(compiled))


def _planned_memory(compiled: Any) -> float | None:
    plan = compiled.memory_analysis()
    if plan is None:
        return None
    held = plan.argument_size_in_bytes + plan.output_size_in_bytes + plan.temp_size_in_bytes
    return (held - plan.alias_size_in_bytes) / 1e6
