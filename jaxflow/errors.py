"""What is told to a user in one line: a mistake, a run that stopped, a package that is missing."""

import contextlib
import difflib
import traceback
from collections.abc import Iterable, Iterator


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


class MissingPackage(ModuleNotFoundError):
    """Say in one line which package is not installed, and which extra of jaxflow-ad brings it.

    The command line prints it without a traceback and leaves with exit code 2.
    """


@contextlib.contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Name the extra where jaxflow imports a package that is not installed.

    Args:
      extra: that brings all packages which the block imports.

    Raises:
      MissingPackage: in place of the ModuleNotFoundError of an import statement of jaxflow. That of
        other code, such as a configuration, stays as it is.
    """
    try:
        yield
    except MissingPackage:
        raise
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package == "jaxflow" or not _is_ours(error):
            raise
        raise MissingPackage(
            f"the package {package} is not installed; the extra {extra} of jaxflow-ad brings it: "
            f"run pip install '.[{extra}]' in a copy of its repository",
            name=package,
        ) from None


def _is_ours(error: ModuleNotFoundError) -> bool:
    """Tell whether the import statement that failed is one of jaxflow."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return frame.f_globals.get("__name__", "").partition(".")[0] == "jaxflow"
