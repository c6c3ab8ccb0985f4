r"""Train a detector on normal images.

    python -m jaxflow.train --config=configs/fastflow_resnet18.py \
        --workdir=runs/tiles --config.data.name=magnetic_tile \
        --config.data.data_dir=PATH

The workdir keeps run.json (what the run is made of), checkpoints/ and best/ (the latest and the
best by validation likelihood), metrics.jsonl, and model/ (variables, and thresholds from held-out
normal images). Stopped at any moment, the same command goes on exactly where it was.
"""

if __name__ == "__main__":
    from jaxflow.experiments import signals

    signals.end_at_once()  # The imports below take seconds.

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import jax
import ml_collections
from absl import flags

from jaxflow.data import AnomalyDataset, read_images
from jaxflow.detectors import DETECTORS, Detector
from jaxflow.detectors.scorer import Scorer
from jaxflow.encoders import Encoder, WeightsUnavailable
from jaxflow.errors import InputError, RunStopped
from jaxflow.evaluation.calibration import calibrate
from jaxflow.experiments import command_line
from jaxflow.experiments.build import (
    check_batches,
    deciding_score,
    image_size,
    make_dataset,
    make_detector,
    make_encoder,
    make_recipe,
)
from jaxflow.experiments.checks import check_config, check_effects
from jaxflow.experiments.command_line import say, warn
from jaxflow.experiments.describe import run_facts
from jaxflow.experiments.run_folder import MODEL, check_places, is_run, make_folder, save_run
from jaxflow.experiments.signals import noted
from jaxflow.files import check_writable, locked, remove_parts
from jaxflow.model import Model, Selection, is_model
from jaxflow.training import Trained, fit, steps_per_epoch


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    return command_line.run(_main, _define, __doc__, argv)


def _define(values: flags.FlagValues) -> None:
    command_line.define_config(values)
    flags.DEFINE_string("workdir", None, "folder of the run, made if missing", flag_values=values)


def _main(values: flags.FlagValues) -> int:
    command_line.required(values, "config", "workdir")
    check_config(values.config)
    check_effects(values.config)
    train(values.config, Path(values.workdir))
    return 0


def train(config: ml_collections.ConfigDict, workdir: Path) -> None:
    """Train to the end of the budget, from where the folder stands, and calibrate.

    Raises:
      InputError: for a mistake in the config, the data or the weights; nothing is written then.
      RunStopped: on Ctrl-C, and when the loss is not finite.
    """
    check_config(config)
    check_places(config, workdir)
    check_writable("workdir", workdir)
    encoder = load_encoder_or_random(config)
    check_batches(config, encoder)
    detector = make_detector(config, encoder)
    dataset = make_dataset(config)
    _check_sizes(config, dataset)
    make_folder("workdir", workdir)
    with _held(workdir):
        _run(config, workdir, detector, dataset)


@contextlib.contextmanager
def _held(workdir: Path) -> Iterator[None]:
    """Hold a workdir for this run, all of whose processes the first one stands for."""
    with contextlib.ExitStack() as held:
        if jax.process_index() == 0:
            held.enter_context(locked(workdir, "another training"))
            remove_parts(workdir)
        yield


def _run(
    config: ml_collections.ConfigDict, workdir: Path, detector: Detector, dataset: AnomalyDataset
) -> None:
    facts = run_facts(detector.encoder, dataset)
    save_run(workdir, config, facts)
    say(
        f"{dataset.name} ({dataset.category}): {len(dataset.train)} train, "
        f"{len(dataset.validation)} validation, "
        f"{0 if dataset.test is None else len(dataset.test)} test images; {detector.encoder.name}"
    )
    trained_before = is_model(workdir / MODEL)  # It is gone where more epochs are asked for.
    steps = steps_per_epoch(dataset, config.training.batch_size)
    recipe = make_recipe(config, dataset.category, steps)
    trained = fit(detector, dataset, recipe, workdir, say=say, signals=noted)
    about = {"config": json.loads(config.to_json()), "facts": facts}
    model = _calibrated(config, detector, dataset, trained, about)
    if not is_run(workdir):
        raise RunStopped(f"{workdir} was removed while it was trained; start again")
    if jax.process_index() == 0:
        model.save(workdir / MODEL)
    say(
        ("this run was trained to its end before" if trained_before else "trained")
        + f"; evaluate with: python -m jaxflow.evaluate --workdir={workdir}"
    )


def load_encoder_or_random(config: ml_collections.ConfigDict) -> Encoder:
    """Load the encoder; without the hub, go on with random weights where the config allows it.

    Args:
      config: where random weights are taken, its `encoder.weights` becomes "random".

    Raises:
      InputError: see `load_encoder`.
    """
    try:
        return make_encoder(config)
    except WeightsUnavailable as error:
        if not config.encoder.random_if_unreachable:
            raise
        warn(
            f"{error} -- GOING ON WITH RANDOM WEIGHTS, as this config allows: the program runs as "
            "ever, but the features mean little and the figures say nothing about the method"
        )
        config.encoder.weights = "random"
        return make_encoder(config)


def _check_sizes(config: ml_collections.ConfigDict, dataset: AnomalyDataset) -> None:
    trained = DETECTORS[config.model.detector].trained
    if trained and steps_per_epoch(dataset, config.training.batch_size) == 0:
        raise InputError(
            f"config.training.batch_size {config.training.batch_size}: there are only "
            f"{len(dataset.train)} training images; use a smaller batch or add images"
        )
    if reason := dataset.explain_unavailable():
        warn(reason)
    if not len(dataset.validation):
        warn("no images are held out: there will be no best by validation and no thresholds")


def _calibrated(
    config: ml_collections.ConfigDict,
    detector: Detector,
    dataset: AnomalyDataset,
    trained: Mapping[str, Trained],
    about: Mapping[str, object],
) -> Model:
    """Return the model, with the thresholds that the held-out normal images give."""
    evaluation, selections = config.evaluation, {}
    scored = None
    if len(dataset.validation):
        scorer = Scorer(detector, evaluation.batch_size)
        placed = scorer.place({name: each.variables for name, each in trained.items()})
        scored = scorer(placed, read_images(dataset.validation, image_size(config)))
    for name, each in trained.items():
        calibrations = {
            score: calibrate(*values, evaluation.image_quantile, evaluation.pixel_quantile)
            for score, values in (scored[name].items() if scored else ())
        }
        selections[name] = Selection(each.step, each.variables, calibrations)
    return Model(
        detector,
        selections,
        size=image_size(config),
        score=deciding_score(config),
        batch_size=evaluation.batch_size,
        about=about,
    )


if __name__ == "__main__":
    signals.leave(main())
