"""The one exception that stands for a user's mistake."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Say in one line what is wrong, where, what was expected and what to do.

    The command line prints it without a traceback and leaves with exit code 2.
    """


class RunStopped(RuntimeError):
    """A run that ended early and can go on: says why, what is kept and how to continue.

    Attributes:
      exit_code: of the command line.
    """

    def __init__(self, message: str, exit_code: int = 1):
        super().__init__(message)
        self.exit_code = exit_code


class DataWarning(UserWarning):
    """Say in one line what a data set holds that is not read, or may not be meant.

    The command line prints it as it prints its own warnings.
    """


def suggest(name: str, known: Iterable[str], otherwise: str | None = None) -> str:
    """Return what to say after a name that does not exist.

    Args:
      name: the wrong one.
      known: those that exist.
      otherwise: said where none is near; None: all are listed.
    """
    known = sorted(known)
    if nearest := difflib.get_close_matches(name, known, 1, 0.5):
        return f"did you mean {nearest[0]}?"
    return otherwise or f"it takes {', '.join(known) or 'none'}"
