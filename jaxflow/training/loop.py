"""The training loop: steps, validation, checkpoints, and an exact way back in."""

import contextlib
import dataclasses
import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from jaxflow.errors import RunStopped
from jaxflow.parallel import replicate, shard, unreplicate
from jaxflow.training.batches import Batches
from jaxflow.training.checkpoints import Checkpoints
from jaxflow.training.step import TrainState


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How long to train, and how often to look.

    Attributes:
      epochs: passes over the training images.
      steps_per_epoch: optimizer steps in each.
      validate_every: epochs between validations; each writes a checkpoint. The last epoch
        always validates.
      keep_all: whether all checkpoints stay, for the oracle `best on test`.
    """

    epochs: int
    steps_per_epoch: int
    validate_every: int = 1
    keep_all: bool = False

    @property
    def steps(self) -> int:
        """Return the number of optimizer steps of the whole run."""
        return self.epochs * self.steps_per_epoch

    def is_validated(self, step: int) -> bool:
        """Return whether a validation and a checkpoint follow a step."""
        epoch, rest = divmod(step, self.steps_per_epoch)
        return rest == 0 and (epoch % self.validate_every == 0 or epoch == self.epochs)


class Trainer:
    """One run in one folder: `checkpoints/`, `best/` and `metrics.jsonl`.

    Args:
      workdir: of the run.
      train_step: of `make_train_step`.
      frozen: what the step takes besides state and batch, on the host.
      batches: of training, at position 0.
      validate: gives the validation loss of a replicated state, nats per dimension; None where no
        images were held out.
      schedule: how long.
      say: takes lines for the user.
    """

    def __init__(
        self,
        workdir: Path,
        *,
        train_step: Callable,
        frozen: Any,
        batches: Batches,
        validate: Callable[[TrainState], float] | None,
        schedule: Schedule,
        say: Callable[[str], None] = print,
    ):
        self._train_step = train_step
        self._frozen = replicate(frozen)
        self._batches = batches
        self._validate = validate
        self._schedule = schedule
        self._say = say
        self._log = workdir / "metrics.jsonl"
        self._last = Checkpoints(workdir / "checkpoints", None if schedule.keep_all else 2)
        self._best = Checkpoints(workdir / "best", 1)
        self._best_loss: float | None = None
        self._unread: list[jax.Array] = []
        self._epoch_losses: list[float] = []
        self._started = time.monotonic()

    def run(self, state: TrainState) -> TrainState:
        """Train to the end, from the latest checkpoint if there is one.

        Args:
          state: before the first step.

        Returns:
          The final state, numpy leaves.

        Raises:
          RunStopped: on Ctrl-C, after saving, and when a loss is not finite.
        """
        state = self._resume(state)
        start = int(state.step)
        try:
            with _interrupts() as interrupted, self._progress(start) as bar:
                replicated = replicate(state)
                for step in range(start + 1, self._schedule.steps + 1):
                    batch = shard(next(self._batches))
                    replicated, loss = self._train_step(replicated, self._frozen, batch)
                    self._unread.append(loss)
                    self._after_step(step, replicated, bar)
                    if interrupted and step < self._schedule.steps:
                        self._interrupt(step, replicated)
                return unreplicate(replicated)
        finally:
            self._last.close()
            self._best.close()

    def _resume(self, state: TrainState) -> TrainState:
        found = self._last.restore_latest(state, self._say)
        if found is None:
            self._trim_log(0)
            return state
        self._last.discard_after(found.step)
        self._batches.set_state(found.info["data"])
        self._best_loss = found.info["best_validation_nll"]
        self._trim_log(found.step)
        self._say(f"going on from step {found.step} of {self._schedule.steps}")
        return found.state

    def _progress(self, start: int) -> tqdm:
        return tqdm(total=self._schedule.steps, initial=start, unit="step", dynamic_ncols=True)

    def _after_step(self, step: int, state: TrainState, bar: tqdm) -> None:
        epoch_ends = step % self._schedule.steps_per_epoch == 0
        # Reading a loss waits for its step: once in a while keeps the device busy.
        if len(self._unread) == 10 or epoch_ends or jax.default_backend() == "cpu":
            loss = self._check_losses(step)
            bar.set_postfix_str(f"{loss:.4f} nats/dim")
        bar.update()
        if epoch_ends:
            self._end_epoch(step, state, bar)

    def _check_losses(self, step: int) -> float:
        """Return the latest loss; stop at the first that is not finite."""
        values = [float(np.asarray(loss)[0]) for loss in self._unread]
        for i, value in enumerate(values):
            if not np.isfinite(value):
                bad = step - len(values) + 1 + i
                last = self._last.steps[-1] if self._last.steps else None
                kept = f"the checkpoint of step {last} is kept" if last else "no checkpoint yet"
                raise RunStopped(
                    f"the loss is {value} at step {bad}; {kept}; lower training.learning_rate or "
                    "model.clamp"
                )
        self._epoch_losses += values
        self._unread = []
        return self._epoch_losses[-1]

    def _end_epoch(self, step: int, state: TrainState, bar: tqdm) -> None:
        losses, self._epoch_losses = self._epoch_losses, []
        record = {
            "step": step,
            "epoch": step // self._schedule.steps_per_epoch,
            "train_nll": float(np.mean(losses)),
            "seconds": round(time.monotonic() - self._started, 3),
        }
        if self._schedule.is_validated(step):
            if self._validate is not None:
                record["validation_nll"] = self._validate(state)
                bar.write(
                    f"epoch {record['epoch']}: train {record['train_nll']:.4f}, "
                    f"validation {record['validation_nll']:.4f} nats/dim"
                )
            self._checkpoint(step, state, record.get("validation_nll"))
        with self._log.open("a") as log:
            log.write(json.dumps(record) + "\n")

    def _checkpoint(self, step: int, state: TrainState, validation_nll: float | None) -> None:
        host = unreplicate(state)
        improved = validation_nll is not None and (
            self._best_loss is None or validation_nll < self._best_loss
        )
        if improved:
            self._best_loss = validation_nll
        info = {
            "data": self._batches.get_state(),
            "validation_nll": validation_nll,
            "best_validation_nll": self._best_loss,
        }
        # The best first: killed in between, the run repeats the epoch and writes it again.
        if improved:
            self._best.save(step, host, info)
        self._last.save(step, host, info)

    def _interrupt(self, step: int, state: TrainState) -> None:
        self._check_losses(step)
        self._checkpoint(step, state, None)
        raise RunStopped(
            f"interrupted at step {step} of {self._schedule.steps}; saved; the same command goes "
            "on from there",
            exit_code=130,
        )

    def _trim_log(self, step: int) -> None:
        """Drop what was logged after the step that training goes on from."""
        if self._log.exists():
            lines = [line for line in self._log.read_text().splitlines() if _logged(line) <= step]
            self._log.write_text("".join(line + "\n" for line in lines))


def _logged(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError):  # Cut short by a kill.
        return float("inf")


@contextlib.contextmanager
def _interrupts() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM in the list yielded instead of raising them."""
    received: list[int] = []
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(s, lambda number, frame: received.append(number)) for s in signals]
    try:
        yield received
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
