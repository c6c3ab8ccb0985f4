r"""Train a detector on normal images.

    python -m jaxflow.train --config=configs/fastflow_resnet18.py --workdir=runs/tiles \
        --config.data.name=magnetic_tile --config.data.data_dir=PATH

The workdir keeps run.json (what the run is made of), checkpoints/ and best/ (the latest and the
best by validation likelihood), metrics.jsonl, and calibration.json (thresholds from held-out
normal images). Stopped at any moment, the same command goes on exactly where it was.
"""

if __name__ == "__main__":
    from jaxflow import signals

    signals.end_at_once()  # The imports below take seconds.

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import ml_collections
import numpy as np
from absl import flags

from jaxflow import command_line
from jaxflow.command_line import say, warn
from jaxflow.data import AUGMENTATIONS, AnomalyDataset, read_images
from jaxflow.detectors import Detector, channel_statistics, set_statistics
from jaxflow.encoders import Encoder, WeightsUnavailable
from jaxflow.errors import InputError, RunStopped
from jaxflow.evaluation.calibration import calibrate, write_calibrations
from jaxflow.evaluation.scoring import Scorer
from jaxflow.experiment import (
    check_config,
    check_effects,
    image_size,
    load_selections,
    make_dataset,
    make_detector,
    make_encoder,
    run_facts,
)
from jaxflow.files import locked, remove_parts
from jaxflow.maxima import add_training_maxima
from jaxflow.parallel import check_batch_size
from jaxflow.recipe import check_groups, make_optimizer, make_step
from jaxflow.run_folder import CALIBRATION, check_places, is_run, make_folder, save_run
from jaxflow.training import (
    Batches,
    FeatureBatches,
    ImageBatches,
    KeptFeatures,
    Schedule,
    Trainer,
    create_state,
    make_validation,
    nll_objective,
)


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
    check_batch_size("config.training.batch_size", config.training.batch_size)
    encoder = load_encoder_or_random(config)
    encoder.check_input_size(image_size(config))
    check_groups(config, encoder.map_sizes(image_size(config)))
    detector = make_detector(config, encoder)
    dataset = make_dataset(config)
    steps = len(dataset.train) // config.training.batch_size
    _check_sizes(config, dataset, steps)
    make_folder("workdir", workdir)
    with _held(workdir):
        _run(config, workdir, detector, dataset, steps)


@contextlib.contextmanager
def _held(workdir: Path) -> Iterator[None]:
    """Hold a workdir for this run, all of whose processes the first one stands for."""
    with contextlib.ExitStack() as held:
        if jax.process_index() == 0:
            held.enter_context(locked(workdir, "another training"))
            remove_parts(workdir)
        yield


def _run(
    config: ml_collections.ConfigDict,
    workdir: Path,
    detector: Detector,
    dataset: AnomalyDataset,
    steps: int,
) -> None:
    encoder = detector.encoder
    save_run(workdir, config, run_facts(encoder, dataset))
    say(
        f"{dataset.name} ({dataset.category}): {len(dataset.train)} train, "
        f"{len(dataset.validation)} validation, "
        f"{0 if dataset.test is None else len(dataset.test)} test images; {encoder.name}"
    )
    trained_before = (workdir / CALIBRATION).exists()
    _fit(config, workdir, detector, dataset, steps)
    add_training_maxima(workdir, config, detector, dataset, say)
    _calibrate(config, workdir, detector, dataset)
    if not is_run(workdir):
        raise RunStopped(f"{workdir} was removed while it was trained; start again")
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


def _check_sizes(
    config: ml_collections.ConfigDict, dataset: AnomalyDataset, steps_per_epoch: int
) -> None:
    if steps_per_epoch == 0:
        raise InputError(
            f"config.training.batch_size {config.training.batch_size}: there are only "
            f"{len(dataset.train)} training images; use a smaller batch or add images"
        )
    if reason := dataset.explain_unavailable():
        warn(reason)
    if not len(dataset.validation):
        warn("no images are held out: there will be no best by validation and no thresholds")


def _fit(
    config: ml_collections.ConfigDict,
    workdir: Path,
    detector: Detector,
    dataset: AnomalyDataset,
    steps_per_epoch: int,
) -> None:
    size, training, encoder = image_size(config), config.training, detector.encoder
    limit = int(training.feature_memory_gib * 2**30)
    kept = config.data.augmentation == "none"
    optimizer = make_optimizer(config)
    variables = detector.init(jax.random.key(config.seed), size)
    held_out = KeptFeatures(encoder, dataset.validation, size, limit)
    if kept or config.model.normalization == "standardize":
        features = KeptFeatures(encoder, dataset.train, size, limit)
        if config.model.normalization == "standardize":
            statistics = [channel_statistics(np.asarray(m)) for m in features.maps]
            variables["constants"] = set_statistics(variables["constants"], statistics)
    batches: Batches
    if kept:
        say(f"features of {len(features)} images computed once, kept in {features.place} memory")
        batches = FeatureBatches(features, training.batch_size, config.seed)
    else:
        augmentation = AUGMENTATIONS[config.data.augmentation](dataset.category)
        batches = ImageBatches(dataset.train, size, training.batch_size, config.seed, augmentation)
    count = len(dataset.validation)
    validate = make_validation(
        nll_objective(detector, kept_features=True),
        {},
        held_out.take,
        count,
        training.batch_size // jax.process_count(),
    )
    Trainer(
        workdir,
        train_step=make_step(config, detector, kept_features=kept, steps_per_epoch=steps_per_epoch),
        frozen={} if kept else encoder.variables,
        batches=batches,
        validate=validate if count else None,
        schedule=Schedule(
            training.epochs, steps_per_epoch, training.validate_every, training.keep_all
        ),
        say=say,
    ).run(create_state(variables, optimizer, config.seed))


def _calibrate(
    config: ml_collections.ConfigDict, workdir: Path, detector: Detector, dataset: AnomalyDataset
) -> None:
    """Write the thresholds that the held-out normal images give."""
    if not len(dataset.validation):
        write_calibrations(workdir / CALIBRATION, {})
        return
    selections = load_selections(workdir, config, detector, warn)
    variables = {name: selection.variables for name, selection in selections.items()}
    scorer = Scorer(detector, variables, detector.scores, config.evaluation.batch_size)
    maps = scorer(read_images(dataset.validation, image_size(config)))
    evaluation = config.evaluation
    write_calibrations(
        workdir / CALIBRATION,
        {
            name: {
                score: calibrate(m, evaluation.image_quantile, evaluation.pixel_quantile)
                for score, m in by_score.items()
            }
            for name, by_score in maps.items()
        },
    )


if __name__ == "__main__":
    signals.leave(main())
