"""From a configuration to the objects of an experiment, once."""

import dataclasses
import json
from typing import Any

import ml_collections

from jaxflow.data.augment import AUGMENTATIONS
from jaxflow.data.example import AnomalyDataset
from jaxflow.data.loading import load_dataset
from jaxflow.detectors import DETECTORS, Detector
from jaxflow.encoders import Encoder, WeightsUnavailable
from jaxflow.errors import InputError
from jaxflow.evaluation.calibration import Quantiles
from jaxflow.experiments import plugins
from jaxflow.experiments.command_line import warn
from jaxflow.experiments.detector import (
    deciding_score,
    image_size,
    make_detector,
    make_encoder,
    normalized_sizes,
)
from jaxflow.parallel import check_batch_size
from jaxflow.training import (
    OPTIMIZERS,
    RATES,
    Recipe,
    check_vectors,
    separately,
    steps_per_epoch,
)


@dataclasses.dataclass(frozen=True)
class Experiment:
    """All that a configuration describes, built.

    Attributes:
      detector: on its encoder, as `init` leaves it.
      dataset: that it learns and is judged by.
      recipe: how it learns.
      score: that decides.
      batch_size: images at once in scoring.
      quantiles: of held-out normal scores, where the thresholds are.
      test_maximum: whether CFLOW's score by the test set's own maxima is reported too.
      about: `config` and `facts`, JSON-able: what a run and a model are stored with.
      budget: what training costs, in words.
    """

    detector: Detector
    dataset: AnomalyDataset
    recipe: Recipe
    score: str
    batch_size: int
    quantiles: Quantiles
    test_maximum: bool
    about: dict[str, Any]
    budget: str


def build(config: ml_collections.ConfigDict, detector: Detector | None = None) -> Experiment:
    """Build what a configuration describes.

    Args:
      config: checked; where random weights are taken, its `encoder.weights` becomes "random".
      detector: one that is built already; None: the config's.

    Raises:
      InputError: for a mistake in the config, the data or the weights.
    """
    if detector is None:
        encoder = load_encoder_or_random(config)
        check_batches(config, encoder)
        detector = make_detector(config, encoder)
    dataset = make_dataset(config)
    _check_sizes(dataset, config.training.batch_size, detector.objective is not None)
    evaluation = config.evaluation
    return Experiment(
        detector=detector,
        dataset=dataset,
        recipe=make_recipe(config, dataset),
        score=deciding_score(config),
        batch_size=evaluation.batch_size,
        quantiles=Quantiles(evaluation.image_quantile, evaluation.pixel_quantile),
        test_maximum=evaluation.test_maximum,
        about={
            "config": json.loads(config.to_json()),
            "facts": run_facts(detector.encoder, dataset),
        },
        budget=_budget(config) if detector.objective else "one look at each training image",
    )


def make_dataset(config: ml_collections.ConfigDict) -> AnomalyDataset:
    """Load the data set that `config.data` names.

    Raises:
      InputError: see `load_dataset`.
    """
    data = config.data
    return load_dataset(
        data.name,
        data_dir=data.data_dir or None,
        category=data.category or None,
        validation_fraction=data.validation_fraction,
        seed=config.seed,
        cache_dir=data.cache_dir or None,
        **data.options.to_dict(),
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


def make_recipe(config: ml_collections.ConfigDict, dataset: AnomalyDataset | None) -> Recipe:
    """Return how `config.training` trains.

    Args:
      config: of the run.
      dataset: its number of images sets the rate's steps, and some augmentations depend on its
        category; None: for one step, as a benchmark takes it.
    """
    data, training = config.data, config.training
    optimizer = OPTIMIZERS[training.optimizer](training.learning_rate, training.weight_decay)
    steps = 1 if dataset is None else steps_per_epoch(dataset, training.batch_size)
    augmentation = None
    if dataset is not None and data.augmentation != "none":
        augmentation = AUGMENTATIONS[data.augmentation](dataset.category)
    return Recipe(
        size=image_size(config),
        seed=config.seed,
        epochs=training.epochs,
        batch_size=training.batch_size,
        optimizer=separately(optimizer) if training.vectors else optimizer,
        rate=RATES[training.schedule](training.epochs, steps, training.warmup_epochs),
        vectors=training.vectors,
        augmentation=augmentation,
        validate_every=training.validate_every,
        keep_all=training.keep_all,
        feature_memory=int(training.feature_memory_gib * 2**30),
    )


def run_facts(encoder: Encoder, dataset: AnomalyDataset) -> dict[str, Any]:
    """Return what a config does not say: hashes of the plugins, the encoder's weights, the data."""
    return {
        "plugins": plugins.hashes(),
        "encoder_sha256": encoder.sha256,
        "encoder_commit": encoder.commit,
        "data_fingerprint": dataset.fingerprint,
    }


def _budget(config: ml_collections.ConfigDict) -> str:
    training = config.training
    return (
        f"{training.epochs} epochs, batch {training.batch_size}, {training.optimizer} "
        f"{training.learning_rate} {training.schedule}, loss {training.loss}, "
        f"{describe_groups(training.vectors)}"
    )


def describe_groups(vectors: int) -> str:
    """Return what an optimizer step sees."""
    return f"groups of {vectors} vectors" if vectors else "whole maps"


def _check_sizes(dataset: AnomalyDataset, batch_size: int, trained: bool) -> None:
    if trained and steps_per_epoch(dataset, batch_size) == 0:
        raise InputError(
            f"config.training.batch_size {batch_size}: there are only {len(dataset.train)} "
            "training images; use a smaller batch or add images"
        )


def check_batches(config: ml_collections.ConfigDict, encoder: Encoder) -> None:
    """Check that devices can share batches and groups, and maps have vectors enough for a group.

    Raises:
      InputError: if not, or the encoder cannot take images of this size.
    """
    training, sizes = config.training, normalized_sizes(config, encoder)
    if not DETECTORS[config.model.detector].trained:
        return
    check_batch_size("config.training.batch_size", training.batch_size)
    if training.vectors:
        name = "config.training.vectors"
        check_batch_size(name, training.vectors)
        check_vectors(name, training.vectors, training.batch_size, sizes)
