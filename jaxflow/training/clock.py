"""How long work takes, without what JAX compiles for it."""

import time
from types import TracebackType
from typing import Any

from jax import monitoring

_COMPILATION = "/jax/core/compile/"


class Clock:
    """Count seconds of wall clock, except those in which JAX traces, lowers and compiles.

    It runs inside its `with` block; spans of compilation that overlap count once.

    Example:
      >>> with Clock() as clock:
      ...     work = sum(range(10))
      >>> clock.seconds < 10
      True
    """

    def __init__(self) -> None:
        self._start = 0.0
        self._end: float | None = None
        self._compiling: list[tuple[float, float]] = []

    @property
    def seconds(self) -> float:
        """Seconds since the block began, or of the whole block once it has ended."""
        end = time.time() if self._end is None else self._end
        return max(0.0, end - self._start - sum(b - a for a, b in self._compiling))

    def __enter__(self) -> "Clock":
        self._start = time.time()  # The clock that JAX tells its spans by.
        monitoring.register_event_time_span_listener(self._add)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end = time.time()
        monitoring.unregister_event_time_span_listener(self._add)

    def _add(self, event: str, start_time: float, end_time: float, **_: Any) -> None:
        """Take a span in; an inner one ends before the one around it, and is swallowed by it."""
        if not event.startswith(_COMPILATION):
            return
        while self._compiling and self._compiling[-1][1] > start_time:
            start_time = min(start_time, self._compiling.pop()[0])
        self._compiling.append((start_time, end_time))
