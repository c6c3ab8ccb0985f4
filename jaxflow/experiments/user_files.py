"""Python files of the user's, which commands run: configurations and plugins."""

import contextlib
import hashlib
import sys
import traceback
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxflow.errors import InputError

# What the names of plugins' modules begin with.
PLUGIN = "jaxflow_plugin_"


def run_file(path: str, name: str) -> tuple[dict[str, Any], str]:
    """Run a Python file as a module.

    Args:
      path: of the file.
      name: that the module gets; it stays in `sys.modules` unless the file fails.

    Returns:
      Its globals, and the SHA-256 of what was run.
    """
    content = Path(path).read_bytes()
    module = types.ModuleType(name)
    module.__file__ = path
    sys.modules[name] = module
    try:
        exec(compile(content, path, "exec", dont_inherit=True), module.__dict__)
    except BaseException:
        del sys.modules[name]
        raise
    return module.__dict__, hashlib.sha256(content).hexdigest()


@contextlib.contextmanager
def in_one_line(place: str, path: str) -> Iterator[None]:
    """Tell whatever a user's Python raises in one line that names the file and its line.

    Args:
      place: what is run, such as "--config FILE".
      path: of the file.

    Raises:
      InputError: in place of any exception, or of leaving.
    """
    try:
        yield
    except (Exception, SystemExit) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{place}{_line(path, error)}: {type(error).__name__}: {reason}"
        ) from error


def place_of(error: BaseException) -> str:
    """Return "FILE, line N" of the last line of a plugin that an exception came through, or ""."""
    place = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        if frame.f_globals.get("__name__", "").startswith(PLUGIN):
            place = f"{frame.f_code.co_filename}, line {line}"
    return place


def _line(path: str, error: BaseException) -> str:
    """Return ", line N" for the last line of a file that an exception came through."""
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == path]
    if isinstance(error, SyntaxError) and error.filename == path:
        lines.append(error.lineno)
    return f", line {lines[-1]}" if lines else ""
