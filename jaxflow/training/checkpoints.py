"""Checkpoints that say when they are damaged, and from which training goes on exactly."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from jaxflow.errors import InputError


class Checkpoint(NamedTuple):
    """A state and what was known of it.

    Attributes:
      step: optimizer steps taken.
      state: the pytree, numpy leaves.
      info: JSON-able: data position, epoch, validation likelihood and so on.
    """

    step: int
    state: Any
    info: dict[str, Any]


class Checkpoints:
    """A folder of checkpoints, one a step, written atomically and in the background.

    Args:
      directory: made if missing.
      keep: how many of the latest stay; None keeps all.
    """

    def __init__(self, directory: str | Path, keep: int | None = 2):
        self._directory = Path(directory).absolute()
        self._manager = ocp.CheckpointManager(
            self._directory,
            options=ocp.CheckpointManagerOptions(max_to_keep=keep, cleanup_tmp_directories=True),
        )

    @property
    def steps(self) -> list[int]:
        """List the steps at hand, ascending."""
        return sorted(self._manager.all_steps())

    def save(self, step: int, state: Any, info: dict[str, Any]) -> None:
        """Write a checkpoint; a step that is there already is replaced."""
        state = jax.tree.map(np.asarray, state)
        if step in self._manager.all_steps():
            self._manager.delete(step)
        self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state),
                info=ocp.args.JsonSave({**info, "sha256": _digest(state)}),
            ),
        )

    def restore(self, step: int, template: Any) -> Checkpoint:
        """Read one checkpoint.

        Args:
          step: one of `steps`.
          template: a pytree of the shapes and dtypes expected.

        Raises:
          InputError: if it is damaged or holds other shapes.
        """
        template = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), template)
        place = f"checkpoint {self._directory / str(step)}"
        try:
            restored = self._manager.restore(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardRestore(template), info=ocp.args.JsonRestore()
                ),
            )
        except Exception as error:  # Orbax raises plain exceptions of many kinds for damaged files.
            first_line = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(f"{place} cannot be read: {first_line[:200]}") from error
        state = jax.tree.map(np.asarray, restored["state"])
        info = dict(restored["info"])
        if info.pop("sha256", None) != _digest(state):
            raise InputError(f"{place} is damaged: its content does not match its SHA-256")
        return Checkpoint(step, state, info)

    def restore_latest(
        self, template: Any, say: Callable[[str], None] = lambda message: None
    ) -> Checkpoint | None:
        """Read the latest checkpoint that is whole, or None if there is none at all.

        Args:
          template: a pytree of the shapes and dtypes expected.
          say: called with one line for each damaged checkpoint passed over.

        Raises:
          InputError: if there are checkpoints and all are damaged.
        """
        steps = self.steps
        for step in reversed(steps):
            try:
                return self.restore(step, template)
            except InputError as error:
                say(f"{error}; going back to the one before")
        if steps:
            raise InputError(
                f"{self._directory}: none of the {len(steps)} checkpoints is whole; train anew in "
                "another workdir"
            )
        return None

    def discard_after(self, step: int) -> None:
        """Delete the checkpoints later than a step: damaged ones that were passed over."""
        for later in self.steps:
            if later > step:
                self._manager.delete(later)

    def close(self) -> None:
        """Wait for what is being written."""
        self._manager.close()


def _digest(state: Any) -> str:
    """Return the SHA-256 of a pytree: its paths, dtypes, shapes and bytes."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        leaf = np.ascontiguousarray(leaf)
        name = json.dumps([jax.tree_util.keystr(path), str(leaf.dtype), list(leaf.shape)])
        digest.update(name.encode())
        digest.update(leaf.tobytes())
    return digest.hexdigest()
