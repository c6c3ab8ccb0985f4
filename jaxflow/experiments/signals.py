"""Signals that ask a process to stop: one line and the right exit code, at every moment.

Only the standard library is imported: `jaxflow.cli` calls `end_at_once` before the imports of a
command, which take seconds.
"""

import atexit
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

# How long a command may take to leave what it is doing before the process ends all the same.
_PATIENCE_S = 10.0
_WORDS = {signal.SIGINT: "interrupted"}


class Interrupted(KeyboardInterrupt):
    """A signal asks the process to stop.

    Attributes:
      number: of the signal.
    """

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number

    def __str__(self) -> str:
        return f"{_WORDS.get(signal.Signals(self.number), 'terminated')}; what was saved is kept"

    @property
    def exit_code(self) -> int:
        """Return what a shell calls it: 130 for SIGINT, 143 for SIGTERM."""
        return 128 + self.number


def stop_signals() -> list[int]:
    """List SIGINT and SIGTERM, and SIGHUP unless it is ignored, as under nohup."""
    hang_up = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
    return [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hang_up else [])]


def end_at_once() -> None:
    """From now on, end the process at a signal with one line."""
    for number in stop_signals():
        signal.signal(number, lambda number, frame: _end(Interrupted(number)))
    # Registered first, so called last: from there on, Python would end without a line.
    atexit.register(_ignore)


@contextlib.contextmanager
def handled(handler: Callable[[int], None]) -> Iterator[None]:
    """Call a function with the number of each signal; only the main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in stop_signals()}
    for number in before:
        signal.signal(number, lambda number, frame: handler(number))
    try:
        yield
    finally:
        for number, action in before.items():
            signal.signal(number, action)


@contextlib.contextmanager
def noted() -> Iterator[list[int]]:
    """Collect the number of the first signal in the list yielded; a second one acts as outside."""
    received: list[int] = []
    with contextlib.ExitStack() as handlers:

        def receive(number: int) -> None:
            received.append(number)
            handlers.close()

        handlers.enter_context(handled(receive))
        yield received


@contextlib.contextmanager
def raised(whole_process: bool) -> Iterator[None]:
    """Raise `Interrupted` at a signal.

    Args:
      whole_process: whether the process is the command's own. Then a second signal ends it at
        once, and so does the first where the command does not leave within seconds.
    """
    received: list[int] = []

    def receive(number: int) -> None:
        stop = Interrupted(number)
        if whole_process:
            if received:
                _end(Interrupted(received[0]))
            _quiet()
            timer = threading.Timer(_PATIENCE_S, _end, [stop])
            timer.daemon = True
            timer.start()
        received.append(number)
        raise stop

    with handled(receive):
        yield


def leave(code: int) -> NoReturn:
    """End the process of a command; after a signal, threads that are still busy are not awaited."""
    if code > 128:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def leave_speaking_to_main() -> None:
    """Drop what libraries print of failures in passing: the command says it in one line.

    They do so in their threads, and in callbacks. What ends the process has no caller left.
    """
    speak = sys.excepthook

    def at_the_end_only(*failure: Any) -> None:
        in_main = threading.current_thread() is threading.main_thread()
        if in_main and sys._getframe().f_back is None:
            speak(*failure)

    sys.excepthook = at_the_end_only


def _ignore() -> None:
    """Let a process that has done its work end as it would have."""
    for number in stop_signals():
        signal.signal(number, signal.SIG_IGN)


def _quiet() -> None:
    """Drop what threads and finalizers say of being stopped."""

    def drop(*_: Any) -> None:
        pass

    sys.unraisablehook = threading.excepthook = drop


def _end(stop: Interrupted) -> NoReturn:
    with contextlib.suppress(OSError):
        os.write(2, f"jaxflow: {stop}\n".encode())
    os._exit(stop.exit_code)
