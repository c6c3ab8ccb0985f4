"""Checkpoints that say when they are damaged, and from which training goes on exactly."""

import contextlib
import copy
import errno
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from jaxflow.errors import InputError, RunStopped
from jaxflow.files import explain, file_sha256

_SEAL = "SHA256SUMS"
_UNFINISHED = "*.orbax-checkpoint-tmp*"
# What the files of a checkpoint take besides their content, at most, bytes.
_OVERHEAD = 2**20
# How often a reader looks again because training has just replaced what it was reading.
_LOOKS = 10


class Checkpoint(NamedTuple):
    """A state and what was known of it.

    Attributes:
      step: batches of images taken.
      state: the pytree, numpy leaves.
      info: JSON-able: data position, validation likelihood and so on.
    """

    step: int
    state: Any
    info: dict[str, Any]


class Checkpoints:
    """A folder of checkpoints, one a step, written atomically and in the background.

    Each holds a list of the SHA-256 of its files, made before it gets its final name, and is
    checked against it before it is read.

    Args:
      directory: made if missing, unless only read.
      keep: how many of the latest stay; None keeps all.
      read_only: whether nothing is to be written or cleaned up, as another process may be writing.
    """

    def __init__(self, directory: str | Path, keep: int | None = 2, read_only: bool = False):
        self._directory = Path(directory).absolute()
        self._writing: int | None = None
        if read_only:
            options = ocp.CheckpointManagerOptions(
                read_only=True, create=False, save_interval_steps=0
            )
        else:
            options = ocp.CheckpointManagerOptions(
                max_to_keep=keep,
                cleanup_tmp_directories=True,
                async_options=ocp.AsyncOptions(post_finalization_callback=self._seal),
                # Else hosts that wait at barriers of two folders could take one for the other.
                multiprocessing_options=ocp.options.MultiprocessingOptions(
                    barrier_sync_key_prefix=self._directory.name
                ),
            )
        self._manager = ocp.CheckpointManager(self._directory, options=options)

    @property
    def steps(self) -> list[int]:
        """List the steps that are whole on the disk, ascending."""
        if not self._directory.is_dir():
            return []
        return sorted(int(p.name) for p in self._directory.iterdir() if p.name.isdecimal())

    def save(self, step: int, state: Any, info: dict[str, Any]) -> None:
        """Begin to write a checkpoint, once the one before is written.

        One of the same step is replaced; later ones, which an earlier start of the run has left,
        are deleted. `info` is taken as it is now: Orbax reads it only when it writes.

        Raises:
          RunStopped: if this one, or the one before, cannot be written; what was whole is kept.
        """
        self.wait()
        state = jax.tree.map(np.asarray, state)
        content = ocp.args.Composite(
            state=ocp.args.StandardSave(state),
            info=ocp.args.JsonSave({"info": copy.deepcopy(info), "layout": _layout(state)}),
        )
        with self._told():
            count = sum(leaf.nbytes for leaf in jax.tree.leaves(state)) + len(json.dumps(info))
            self._check_room(count + _OVERHEAD)
            for there in self.steps:
                if there >= step:
                    self._manager.delete(there)
            self._writing = step
            # Without force, a step that Orbax deems out of turn is silently left out.
            self._manager.save(step, args=content, force=True)

    def restore(self, step: int, template: Any) -> Checkpoint:
        """Read one checkpoint.

        Args:
          step: one of `steps`.
          template: a pytree of the shapes and dtypes expected.

        Raises:
          InputError: if it is damaged or holds other shapes.
        """
        folder = self._directory / str(step)
        _check_whole(folder)
        try:
            saved = self._manager.restore(
                step, args=ocp.args.Composite(info=ocp.args.JsonRestore())
            )
            # Orbax itself would return other shapes and cast dtypes without a word.
            if difference := _find_difference(saved["info"]["layout"], _layout(template)):
                raise InputError(f"checkpoint {folder}: {difference}")
            template = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), template)
            restored = self._manager.restore(
                step, args=ocp.args.Composite(state=ocp.args.StandardRestore(template))
            )
        except Exception:  # Of any kind where a training replaces the files meanwhile.
            _check_whole(folder)
            raise
        state = jax.tree.map(np.asarray, restored["state"])
        return Checkpoint(step, state, saved["info"]["info"])

    def restore_latest(
        self, template: Any, say: Callable[[str], None] = lambda message: None
    ) -> Checkpoint | None:
        """Read the latest checkpoint that is whole, or None if there is none at all.

        A training that goes on meanwhile replaces checkpoints: then it is looked for again.

        Args:
          template: a pytree of the shapes and dtypes expected.
          say: called with one line for each checkpoint that is skipped.

        Raises:
          InputError: if there are checkpoints and none can be used.
        """
        for _ in range(_LOOKS):
            steps = self.steps
            for step in reversed(steps):
                try:
                    return self.restore(step, template)
                except InputError as error:
                    if not (self._directory / str(step)).is_dir():
                        break
                    if step == steps[0]:
                        raise InputError(
                            f"{error}; none of the {len(steps)} checkpoints there can be used: "
                            "train again in another workdir"
                        ) from error
                    say(f"{error}; going back to the one before")
            else:
                return None
        raise InputError(f"{self._directory}: checkpoints are replaced faster than they are read")

    def wait(self) -> None:
        """Wait until what is being written is on the disk under its final name.

        Raises:
          RunStopped: if it cannot be written.
        """
        with self._told():
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Wait for what is being written, and end the threads that write.

        Raises:
          RunStopped: if it cannot be written.
        """
        with self._told():
            self._manager.close()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Tell in one line what Orbax raises, which has no common base, and clean up after it."""
        try:
            yield
        except (OSError, RuntimeError, ValueError) as error:
            for path in self._directory.glob(_UNFINISHED):
                shutil.rmtree(path, ignore_errors=True)
            raise RunStopped(
                f"a checkpoint in {self._directory} cannot be written: {_reason(error)}; "
                f"{self._kept()}; then the same command goes on"
            ) from error

    def _check_room(self, count: int) -> None:
        """Raise OSError where so many bytes cannot fit: Orbax would say it in 300 lines."""
        if shutil.disk_usage(self._directory).free < count:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._directory))

    def _kept(self) -> str:
        steps = self.steps
        return f"that of step {steps[-1]} is kept" if steps else "there is none yet"

    def _seal(self) -> None:
        """List the SHA-256 of a checkpoint's files; Orbax renames its folder afterwards."""
        (folder,) = (
            path
            for path in self._directory.iterdir()
            if path.name == str(self._writing) or path.name.startswith(f"{self._writing}.orbax")
        )
        lines = [f"{_seal_line(folder, name)}\n" for name in _files(folder)]
        (folder / _SEAL).write_text("".join(lines))


def _files(folder: Path) -> list[str]:
    """List the files of a checkpoint that hold its content, which Orbax keeps in two folders."""
    paths = [path for part in ("info", "state") for path in (folder / part).rglob("*")]
    return sorted(path.relative_to(folder).as_posix() for path in paths if path.is_file())


def _reason(error: Exception) -> str:
    """Return the system's reason; TensorStore has its number in the midst of a long message."""
    if isinstance(error, OSError) and error.errno is not None:
        return explain(error)
    if number := re.search(r"os_error_code='(\d+)'", str(error)):
        return explain(OSError(int(number[1]), os.strerror(int(number[1]))))
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _seal_line(folder: Path, name: str) -> str:
    return f"{file_sha256(folder / name)}  {name}"


def _read_seal(folder: Path) -> list[str]:
    return (folder / _SEAL).read_text(errors="replace").splitlines()


def _check_whole(folder: Path) -> None:
    """Raise InputError if a checkpoint is not as it was written."""
    try:
        damage = _find_damage(folder)
    except OSError as error:
        damage = explain(error)
    if damage:
        raise InputError(f"checkpoint {folder} is damaged: {damage}")


def _find_damage(folder: Path) -> str | None:
    """Say what of a checkpoint is not as it was written, or None."""
    if not (folder / _SEAL).is_file():
        return f"it has no {_SEAL}"
    lines = [line.partition("  ") for line in _read_seal(folder)]
    sums = {name: digest for digest, _, name in lines}
    for name in sorted(sums.keys() | set(_files(folder))):
        if not (folder / name).is_file():
            return f"{name} is missing"
        if sums.get(name) != file_sha256(folder / name):
            return f"{name} does not match its SHA-256"
    return None if sums else f"its {_SEAL} is empty"


def _layout(state: Any) -> dict[str, str]:
    """Give the dtype and shape of each leaf, by its path."""
    return {
        jax.tree_util.keystr(path): f"{np.dtype(leaf.dtype).name}{list(leaf.shape)}"
        for path, leaf in jax.tree_util.tree_leaves_with_path(state)
    }


def _find_difference(got: dict[str, str], expected: dict[str, str]) -> str | None:
    """Say which leaf of a layout is the first that differs, or None."""
    for path in sorted(got.keys() | expected.keys()):
        if got.get(path) != expected.get(path):
            return (
                f"expected {expected.get(path, 'nothing')} at {path}, "
                f"got {got.get(path, 'nothing')}"
            )
    return None
