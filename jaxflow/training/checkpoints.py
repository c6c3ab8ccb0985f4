"""Checkpoints that say when they are damaged, and from which training goes on exactly."""

import copy
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from jaxflow.errors import InputError

_SEAL = "SHA256SUMS"
_MAXIMA = "maxima.json"


class Checkpoint(NamedTuple):
    """A state and what was known of it.

    Attributes:
      step: batches of images taken.
      state: the pytree, numpy leaves.
      info: JSON-able: data position, validation likelihood and so on.
      maxima: f32[maps], what `add_maxima` has added, or None.
    """

    step: int
    state: Any
    info: dict[str, Any]
    maxima: np.ndarray | None = None


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
            )
        self._manager = ocp.CheckpointManager(self._directory, options=options)

    @property
    def steps(self) -> list[int]:
        """List the steps at hand, ascending; the last may still be on its way to the disk."""
        return sorted(self._manager.all_steps())

    def save(self, step: int, state: Any, info: dict[str, Any]) -> None:
        """Begin to write a checkpoint, once the one before is written.

        One of the same step is replaced; later ones, which an earlier start of the run has left,
        are deleted. `info` is taken as it is now: Orbax reads it only when it writes.
        """
        self.wait()
        for there in self.steps:
            if there >= step:
                self._manager.delete(there)
        self._writing = step
        state = jax.tree.map(np.asarray, state)
        self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state),
                info=ocp.args.JsonSave({"info": copy.deepcopy(info), "layout": _layout(state)}),
            ),
            force=True,  # Without, a step that Orbax deems out of turn is silently left out.
        )

    def restore(self, step: int, template: Any) -> Checkpoint:
        """Read one checkpoint.

        Args:
          step: one of `steps`.
          template: a pytree of the shapes and dtypes expected.

        Raises:
          InputError: if it is damaged or holds other shapes.
        """
        if damage := _find_damage(self._directory / str(step)):
            raise InputError(f"checkpoint {self._directory / str(step)} is damaged: {damage}")
        saved = self._manager.restore(step, args=ocp.args.Composite(info=ocp.args.JsonRestore()))
        # Orbax itself would return other shapes and cast dtypes without a word.
        if difference := _find_difference(saved["info"]["layout"], _layout(template)):
            raise InputError(f"checkpoint {self._directory / str(step)}: {difference}")
        template = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), template)
        restored = self._manager.restore(
            step, args=ocp.args.Composite(state=ocp.args.StandardRestore(template))
        )
        return Checkpoint(
            step,
            jax.tree.map(np.asarray, restored["state"]),
            saved["info"]["info"],
            _read_maxima(self._directory / str(step)),
        )

    def add_maxima(self, step: int, maxima: Sequence[float]) -> None:
        """Add the training set's maximum likelihoods to a checkpoint that is written.

        They are known only when training is over. A kill leaves the checkpoint with them or
        without, and whole.

        Args:
          step: one of `steps`.
          maxima: of each map, nats per dimension.
        """
        folder = self._directory / str(step)
        _write_whole(folder / _MAXIMA, json.dumps([float(value) for value in maxima]))
        kept = [line for line in _read_seal(folder) if not line.endswith(f"  {_MAXIMA}")]
        lines = [*kept, _seal_line(folder, _MAXIMA)]
        _write_whole(folder / _SEAL, "".join(f"{line}\n" for line in lines))

    def restore_latest(
        self, template: Any, say: Callable[[str], None] = lambda message: None
    ) -> Checkpoint | None:
        """Read the latest checkpoint that is whole, or None if there is none at all.

        Args:
          template: a pytree of the shapes and dtypes expected.
          say: called with one line for each checkpoint passed over.

        Raises:
          InputError: if there are checkpoints and none can be used.
        """
        steps = self.steps
        for step in reversed(steps):
            try:
                return self.restore(step, template)
            except InputError as error:
                if step == steps[0]:
                    raise InputError(
                        f"{error}; none of the {len(steps)} checkpoints there can be used: train "
                        "anew in another workdir"
                    ) from error
                say(f"{error}; going back to the one before")
        return None

    def wait(self) -> None:
        """Wait until what is being written is on the disk under its final name."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Wait for what is being written, and end the threads that write."""
        self._manager.close()

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


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _seal_line(folder: Path, name: str) -> str:
    return f"{_sha256(folder / name)}  {name}"


def _read_seal(folder: Path) -> list[str]:
    return (folder / _SEAL).read_text(errors="replace").splitlines()


def _write_whole(path: Path, text: str) -> None:
    """Write a file at once; several processes may write the same."""
    temporary = path.with_name(f"{path.name}.{jax.process_index()}.tmp")
    temporary.write_text(text)
    temporary.replace(path)


def _read_maxima(folder: Path) -> np.ndarray | None:
    """Read what `add_maxima` has added to a checkpoint without damage."""
    if not any(line.endswith(f"  {_MAXIMA}") for line in _read_seal(folder)):
        return None  # Not sealed yet: a kill came in between.
    return np.asarray(json.loads((folder / _MAXIMA).read_text()), np.float32)


def _find_damage(folder: Path) -> str | None:
    """Say what of a checkpoint is not as it was written, or None."""
    if not (folder / _SEAL).is_file():
        return f"it has no {_SEAL}"
    lines = [line.partition("  ") for line in _read_seal(folder)]
    sums = {name: digest for digest, _, name in lines}
    for name in sorted(sums.keys() | set(_files(folder))):
        if not (folder / name).is_file():
            return f"{name} is missing"
        if sums.get(name) != _sha256(folder / name):
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
