"""The training loop: steps, validation, checkpoints, and an exact way back in."""

import contextlib
import dataclasses
import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from jaxflow.errors import RunStopped
from jaxflow.files import write_atomically
from jaxflow.parallel import PMAP, REPLICATED, Devices
from jaxflow.training.batches import Batches
from jaxflow.training.checkpoints import Checkpoints
from jaxflow.training.clock import Clock
from jaxflow.training.step import TrainState


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How long to train, and how often to look.

    Attributes:
      epochs: passes over the training images.
      steps_per_epoch: batches of images in each.
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
        """Return the number of batches of the whole run."""
        return self.epochs * self.steps_per_epoch

    def is_validated(self, step: int) -> bool:
        """Return whether a validation and a checkpoint follow a step."""
        epoch, rest = divmod(step, self.steps_per_epoch)
        return rest == 0 and (epoch % self.validate_every == 0 or epoch == self.epochs)


def no_signals() -> AbstractContextManager[list[int]]:
    """Collect no signals: Ctrl-C raises KeyboardInterrupt, as in all of Python."""
    return contextlib.nullcontext([])


class Trainer:
    """One run in one folder: `checkpoints/`, `best/` and `metrics.jsonl`.

    Args:
      workdir: of the run.
      train_step: of `make_train_step`, with the same devices.
      batches: of training, at position 0.
      validate: gives the validation loss of a replicated state, nats per dimension; None where no
        images were held out.
      schedule: how long.
      devices: hold the state, and take the steps.
      say: takes lines for the user.
      signals: gives, while training, the list of the numbers of the signals received; after one,
        training saves and stops. By default Ctrl-C raises KeyboardInterrupt, as in all of Python.
    """

    def __init__(
        self,
        workdir: Path,
        *,
        train_step: Callable,
        batches: Batches,
        validate: Callable[[TrainState], float] | None,
        schedule: Schedule,
        devices: Devices = PMAP,
        say: Callable[[str], None] = print,
        signals: Callable[[], AbstractContextManager[list[int]]] = no_signals,
    ):
        self._train_step = train_step
        self._devices = devices
        self._frozen = devices.replicate(batches.frozen)
        self._batches = batches
        self._validate = validate
        self._schedule = schedule
        # With several processes one of them speaks and writes the log; all write checkpoints.
        self._leads = jax.process_index() == 0
        # Signals act as outside there: one that stopped by itself would leave the others waiting.
        self._interrupts = signals if jax.process_count() == 1 else no_signals
        self._say = say if self._leads else lambda line: None
        self._log = workdir / "metrics.jsonl"
        self._last = Checkpoints(workdir / "checkpoints", None if schedule.keep_all else 2)
        self._best = Checkpoints(workdir / "best", 1)
        self._best_loss: float | None = None
        self._unread: list[jax.Array] = []
        self._epoch_losses: list[float] = []
        self._records: list[dict[str, Any]] = []
        self._started = time.monotonic()
        self._clock = Clock()
        # Of earlier starts; None where one of them did not count.
        self._seconds_before: float | None = 0.0

    def run(self, state: TrainState) -> TrainState:
        """Train to the end, from the latest checkpoint if there is one.

        Args:
          state: before the first step.

        Returns:
          The final state, numpy leaves.

        Raises:
          InputError: if there are checkpoints and none can be used.
          RunStopped: on Ctrl-C, after saving, and when a loss is not finite.
        """
        try:
            state = self._resume(state)
            start = int(state.step)
            with self._clock, self._interrupts() as interrupted, self._progress(start) as bar:
                replicated = self._devices.replicate(state)
                for step in range(start + 1, self._schedule.steps + 1):
                    batch = self._devices.shard(next(self._batches))
                    replicated, loss = self._train_step(replicated, self._frozen, batch)
                    self._unread.append(loss)
                    self._after_step(step, replicated, bar)
                    if interrupted:
                        self._interrupt(step, replicated, interrupted[0])
                return self._devices.gather(replicated, REPLICATED)
        finally:
            self._last.close()
            self._best.close()

    def _resume(self, state: TrainState) -> TrainState:
        found = self._last.restore_latest(state, self._say)
        if found is None:
            self._write_log()
            return state
        self._batches.set_state(found.info["data"])
        self._best_loss = found.info["best_validation_nll"]
        self._epoch_losses = found.info["epoch_losses"]
        self._started -= found.info["seconds"]
        self._seconds_before = found.info.get("seconds_without_compilation")
        self._records = found.info["log"]
        self._write_log()
        self._say(f"going on from step {found.step} of {self._schedule.steps}")
        return found.state

    def _progress(self, start: int) -> tqdm:
        return tqdm(
            total=self._schedule.steps,
            initial=start,
            unit="step",
            dynamic_ncols=True,
            disable=None if self._leads else True,  # None: without a terminal.
        )

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
        values = [float(loss) for loss in self._devices.gather(self._unread, REPLICATED)]
        for i, value in enumerate(values):
            if not np.isfinite(value):
                raise self._not_finite(f"the loss is {value} at step {step - len(values) + 1 + i}")
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
        validated = self._schedule.is_validated(step)
        if validated and self._validate is not None:
            record["validation_nll"] = self._validate(state)
            if not np.isfinite(record["validation_nll"]):
                raise self._not_finite(
                    f"the validation loss is {record['validation_nll']} after step {step}"
                )
        self._report(record, bar)
        self._records.append(record)
        # The log first: what a kill leaves in it without a checkpoint, the next start drops.
        if self._leads:
            self._check_there()
            with self._log.open("a") as log:
                log.write(json.dumps(record) + "\n")
        if validated:
            self._checkpoint(step, state, record.get("validation_nll"))

    def _report(self, record: dict[str, Any], bar: tqdm) -> None:
        if self._leads:
            held_out = record.get("validation_nll")
            validation = "" if held_out is None else f", validation {held_out:.4f}"
            bar.write(
                f"epoch {record['epoch']}: train {record['train_nll']:.4f}{validation} nats/dim"
            )

    def _checkpoint(self, step: int, state: TrainState, validation_nll: float | None) -> None:
        host = self._devices.gather(state, REPLICATED)
        # A finite loss can still have gradients that are not: the next loss would tell too late.
        if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(host.params)):
            raise self._not_finite(f"the parameters are not finite after step {step}")
        improved = validation_nll is not None and (
            self._best_loss is None or validation_nll < self._best_loss
        )
        if improved:
            self._best_loss = validation_nll
        info = {
            "data": self._batches.get_state(),
            "validation_nll": validation_nll,
            "best_validation_nll": self._best_loss,
            "epoch_losses": self._epoch_losses,
            "log": self._records,
            "seconds": time.monotonic() - self._started,
            "seconds_without_compilation": self._seconds(),
        }
        # The best first, to its end: killed in between, the run repeats the epoch and with it the
        # best; the other way round, the best would be lost.
        if improved:
            self._best.save(step, host, info)
            self._best.wait()
        self._last.save(step, host, info)

    def _seconds(self) -> float | None:
        before = self._seconds_before
        return None if before is None else before + self._clock.seconds

    def _not_finite(self, what: str) -> RunStopped:
        self._last.wait()  # One may still be on its way to the disk.
        steps = self._last.steps
        kept = f"the checkpoint of step {steps[-1]} is kept" if steps else "no checkpoint yet"
        return RunStopped(f"{what}; {kept}; lower training.learning_rate or model.clamp")

    def _interrupt(self, step: int, state: TrainState, number: int) -> None:
        if not self._schedule.is_validated(step):
            if self._unread:
                self._check_losses(step)
            self._checkpoint(step, state, None)
        raise RunStopped(
            f"interrupted at step {step} of {self._schedule.steps}; saved; the same command goes "
            "on from there",
            exit_code=128 + number,
        )

    def _check_there(self) -> None:
        """Raise RunStopped if the folder was removed: Orbax would make it again."""
        if len(self._records) > 1 and not self._log.exists():
            raise RunStopped(f"{self._log.parent} was removed while it was trained; start again")

    def _write_log(self) -> None:
        """Write what the checkpoint knows that was logged: later and damaged lines are gone."""
        if self._leads:
            content = "".join(json.dumps(record) + "\n" for record in self._records).encode()
            if content != (self._log.read_bytes() if self._log.exists() else b""):
                write_atomically(self._log, content)
