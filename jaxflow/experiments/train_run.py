"""A run in a folder: trained to its end, from wherever it was stopped."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import jax
import ml_collections

from jaxflow.errors import InputError, RunStopped
from jaxflow.experiments import plugins
from jaxflow.experiments.build import Experiment, build
from jaxflow.experiments.checks import check_config
from jaxflow.experiments.command_line import say, warn
from jaxflow.experiments.fit import fit
from jaxflow.experiments.run_folder import MODEL, check_places, is_run, make_folder, save_run
from jaxflow.experiments.signals import noted
from jaxflow.files import check_writable, locked, remove_parts
from jaxflow.model import is_model, read_about


def train_run(config: ml_collections.ConfigDict, workdir: Path) -> None:
    """Train to the end of the budget, from where the folder stands, and calibrate.

    Args:
      config: of the run; where random weights are taken, its `encoder.weights` becomes "random".
      workdir: made if missing; see `run_folder`.

    Raises:
      InputError: for a mistake in the config, the data or the weights; nothing is written then.
      RunStopped: on Ctrl-C, and when the loss is not finite.
    """
    check_config(config)
    check_places(config, workdir)
    check_writable("workdir", workdir)
    experiment = build(config)
    _warn(experiment)
    make_folder("workdir", workdir)
    detector, dataset = experiment.detector, experiment.dataset
    with _held(workdir):
        save_run(workdir, experiment.about)
        trained_before = is_model(workdir / MODEL)  # It is gone where more epochs are asked for.
        seconds_before = _seconds(workdir / MODEL)
        say(
            f"{dataset.name} ({dataset.category}): {len(dataset.train)} train, "
            f"{len(dataset.validation)} validation, "
            f"{0 if dataset.test is None else len(dataset.test)} test images; "
            f"{detector.encoder.name}"
        )
        model = fit(
            detector,
            dataset,
            workdir,
            recipe=experiment.recipe,
            score=experiment.score,
            score_batch_size=experiment.batch_size,
            quantiles=experiment.quantiles,
            about=experiment.about,
            say=say,
            signals=noted,
        )
        if not is_run(workdir):
            raise RunStopped(f"{workdir} was removed while it was trained; start again")
        if seconds_before is not None:
            model.about["train_seconds"] = seconds_before  # Nothing was learned again.
        if jax.process_index() == 0:
            model.save(workdir / MODEL)
    before = "this run was trained to its end before" if trained_before else "trained"
    flags = f"--workdir={workdir}{plugins.as_flags()}"
    say(f"{before}; evaluate with: python -m jaxflow.evaluate {flags}")


def _seconds(model: Path) -> float | None:
    """Return how long a finished run took to learn; None: not known, or no finished run."""
    with contextlib.suppress(InputError):
        return read_about(model)["about"].get("train_seconds")
    return None


@contextlib.contextmanager
def _held(workdir: Path) -> Iterator[None]:
    """Hold a workdir for this run, all of whose processes the first one stands for."""
    with contextlib.ExitStack() as held:
        if jax.process_index() == 0:
            held.enter_context(locked(workdir, "another training"))
            remove_parts(workdir)
        yield


def _warn(experiment: Experiment) -> None:
    if reason := experiment.dataset.explain_unavailable():
        warn(reason)
    if not len(experiment.dataset.validation):
        warn("no images are held out: there will be no best by validation and no thresholds")
