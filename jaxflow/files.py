"""Files that appear whole or not at all, sealed JSON, and locked folders."""

import contextlib
import errno
import fcntl
import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxflow.errors import InputError

# The first entry of JSON files that a command may replace.
SIGNED = {"written_by": "jaxflow"}
# What is found at the beginning of the pictures, the JSON and the scores that jaxflow writes.
OUR_MARKS = (b"tEXtSoftware\0jaxflow", b'"written_by": "jaxflow', b"name,anomaly_score_")
# What a killed process leaves of a file that it was writing ends so.
PART = ".part"
_SEAL = "sha256"
_LOCK = ".lock"
_ADVICE = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room",
    errno.EROFS: "name a place that can be written to",
    errno.EACCES: "name a place that you have access to, or change its permissions",
    errno.EPERM: "name a place that you have access to, or change its permissions",
    errno.ENOENT: "it is missing, or its folder was removed meanwhile",
    errno.ENOTDIR: "one of its folders is a file",
    errno.EISDIR: "name a file, not a folder",
    errno.ENAMETOOLONG: "name a shorter path",
}


def explain(error: OSError) -> str:
    """Say in one line which file the system refused, why, and what to do."""
    name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else None
    advice = _ADVICE.get(error.errno or 0)
    parts = [name, error.strerror or str(error) or type(error).__name__]
    return ": ".join(part for part in parts if part) + (f"; {advice}" if advice else "")


def file_sha256(path: Path) -> str:
    """Give the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: str | Path, content: str | bytes) -> Path:
    """Write a file beside its place and move it there, so that no reader sees a half.

    A link at that place is replaced; the file that it points to stays as it is.

    Args:
      path: the file to write; its folder must exist.
      content: bytes, or text that is written in UTF-8.

    Returns:
      The path.

    Raises:
      OSError: if it cannot be written; what was there before is kept.
    """
    target = Path(path)
    if isinstance(content, str):
        content = content.encode("utf-8", "backslashreplace")
    # A name near the limit of 255 bytes leaves no room for more in front of it.
    try:
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=".jaxflow.", suffix=PART)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)  # mkstemp's files are private to their owner.
            os.replace(temporary, target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        # A full disk names no file, and the temporary one means nothing to a user.
        raise OSError(error.errno, error.strerror, str(target)) from error
    return target


def remove_parts(folder: Path) -> None:
    """Remove what killed processes left of files that they were writing in a folder."""
    for path in folder.glob(f".jaxflow.*{PART}"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing(folder: Path, user: str) -> Iterator[Path]:
    """Give an empty folder, whose files take their places in a folder when all are written.

    Args:
      folder: made if missing; files of other names in it stay.
      user: who writes, for the message of a second at the same time.

    Raises:
      InputError: if another process writes there.
      OSError: if the system refuses; files that were there before are then as they were.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, user):
        remove_parts(folder)
        new = folder / f".jaxflow.new{PART}"
        new.mkdir()
        try:
            yield new
            for path in sorted(path for path in new.rglob("*") if path.is_file()):
                target = folder / path.relative_to(new)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(path, target)
        finally:
            shutil.rmtree(new, ignore_errors=True)


def write_json(path: str | Path, payload: Mapping[str, Any]) -> Path:
    """Write strict JSON.

    Args:
      path: the file to write; its folder must exist.
      payload: strings, numbers (numpy's too), booleans, None, mappings and sequences.

    Returns:
      The path.

    Raises:
      InputError: if a value is NaN, infinite or of another type; the error names its place.
      OSError: see `write_atomically`.
    """
    text = json.dumps(_plain(payload, "metrics"), indent=2, allow_nan=False, ensure_ascii=False)
    return write_atomically(path, text + "\n")


def write_sealed_json(path: str | Path, payload: Mapping[str, Any]) -> Path:
    """Write strict JSON with the SHA-256 of its content, for `read_sealed_json`.

    Args:
      path: the file to write; its folder must exist.
      payload: see `write_json`; it has no key "sha256".

    Returns:
      The path.

    Raises:
      InputError: see `write_json`.
      OSError: see `write_atomically`.
    """
    content = _plain(payload, "metrics")
    return write_json(path, {_SEAL: _digest(content), **payload})


def read_sealed_json(path: Path) -> dict[str, Any]:
    """Read what `write_sealed_json` wrote.

    Args:
      path: the file.

    Returns:
      The payload.

    Raises:
      InputError: if the file cannot be read or is not what was written, saying why.
    """
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(explain(error)) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged: it is no JSON ({_one_line(error)})") from error
    if not isinstance(content, dict) or _SEAL not in content:
        raise InputError(f"{path} is damaged: it has no {_SEAL} of its content")
    if content.pop(_SEAL) != _digest(content):
        raise InputError(f"{path} is damaged: its content does not match its SHA-256")
    return content


@contextlib.contextmanager
def locked(folder: Path, user: str) -> Iterator[None]:
    """Hold a folder for this process; the system frees it however the process ends.

    Args:
      folder: must exist.
      user: who holds it, for the message of the second, such as "a training".

    Raises:
      InputError: if another process holds it.
      OSError: if the folder cannot be written to.
    """
    path = folder / _LOCK
    with _acquire(path, folder, user) as file:
        file.truncate(0)
        file.write(f"process {os.getpid()}".encode())
        file.flush()
        try:
            yield
        finally:
            if _is_held(path, file):
                path.unlink(missing_ok=True)


def is_held(folder: Path) -> bool:
    """Tell whether a process holds a folder by `locked`."""
    try:
        with (folder / _LOCK).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _acquire(path: Path, folder: Path, user: str) -> Any:
    """Open and lock the lock file; the holder before may remove it in between."""
    while True:
        file = path.open("a+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read(64).decode(errors="replace") or "another process"
            file.close()
            raise InputError(
                f"{folder} is in use by {user} ({holder}); wait until it ends, or use "
                "another folder"
            ) from error
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
                file.close()
                raise
            return file  # A file system without locks: nothing can be held there.
        if _is_held(path, file):
            return file
        file.close()


def _is_held(path: Path, file: Any) -> bool:
    """Tell whether an open file is the one that lies at a path."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def check_writable(flag: str, folder: Path) -> None:
    """Check, before anything is computed, that the folder of a flag can be written to, or made.

    Raises:
      InputError: if the system will not let it.
    """
    place = folder.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise InputError(f"--{flag} {folder}: no such folder can be made: {place} is a file")
    if not os.access(place, os.W_OK | os.X_OK):
        raise InputError(
            f"--{flag} {folder} cannot be written to: {place} is read-only, or not yours; name "
            "another place"
        )


def check_outputs(flag: str, outputs: Iterable[Path], inputs: Iterable[Path] = ()) -> None:
    """Check that no file of the user's would be overwritten.

    Args:
      flag: that names the outputs, for the message.
      outputs: files to be written; what an earlier command wrote there may be replaced.
      inputs: existing files that are read.

    Raises:
      InputError: if an output is an input, by a link, by another case of its letters or otherwise,
        or a file that jaxflow did not write.
    """
    read = {_identity(path): path for path in inputs}
    for output in outputs:
        if not os.path.lexists(output):
            continue
        if output.exists() and (original := read.get(_identity(output))):
            raise InputError(
                f"--{flag}: {output} would overwrite the input {original}; name another place"
            )
        if output.is_dir():
            raise InputError(f"--{flag}: {output} is a folder; name another place")
        if output.is_symlink() or not _is_ours(output):
            raise InputError(
                f"--{flag}: {output} is there and was not written by jaxflow; name another place, "
                "or move it away"
            )


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _is_ours(path: Path) -> bool:
    """Tell whether a file bears the mark that jaxflow leaves in its kind."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(1024)
    return any(mark in head for mark in OUR_MARKS)


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _one_line(reason: object) -> str:
    return " ".join(str(reason).split())[:200]


def _plain(value: object, place: str) -> object:
    """Return the value in JSON's own types, or raise InputError naming its place."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item, f"{place}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{place}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist(), place)
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{place}: {value} has no place in JSON; leave a missing metric out")
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise InputError(f"{place}: {type(value).__name__} has no form in JSON; give a plain value")
