"""How a detector is trained by gradient, and what its checkpoints hold."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any, NamedTuple

import grain
import jax
import optax

from jaxflow.data import AnomalyDataset
from jaxflow.detectors import Detector, Variables
from jaxflow.parallel import PMAP, Devices
from jaxflow.training.batches import Batches, FeatureBatches, ImageBatches
from jaxflow.training.checkpoints import Checkpoints
from jaxflow.training.features import KeptFeatures
from jaxflow.training.loop import Schedule, Trainer, no_signals
from jaxflow.training.optimizers import adam_l2
from jaxflow.training.step import (
    Encode,
    Rate,
    as_maps,
    constant_rate,
    create_state,
    make_train_step,
)
from jaxflow.training.validation import make_validation
from jaxflow.training.vectors import make_vector_step

_FASTFLOW = adam_l2(1e-3, 1e-5)
# Selection -> folder of its checkpoints in a workdir.
FOLDERS = {"last": "checkpoints", "best": "best"}


class Trained(NamedTuple):
    """What training made of a detector's variables.

    Attributes:
      step: batches of images taken; 0 where nothing is trained by gradient.
      variables: of the detector.
      validation_nll: of the held-out images, nats per dimension; None: not computed in training.
      seconds: of training until then, without compilation; None: not known.
    """

    step: int
    variables: Variables
    validation_nll: float | None = None
    seconds: float | None = None


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a detector is trained.

    Attributes:
      size: (height, width) of the images, pixels.
      seed: of the parameters' initialization and of the data order.
      epochs: passes over the training images.
      batch_size: images in a batch, over all devices.
      optimizer: of optax; for groups of vectors as `separately` makes it. FastFlow's by default.
      rate: factor of the learning rate at a batch.
      vectors: in a group that gets an optimizer step, over all devices; 0: whole maps.
      augmentation: of the images; None: the encoder runs once for each image.
      validate_every: epochs between validations and checkpoints.
      keep_all: whether all checkpoints stay.
      feature_memory: kept features above it go to a file, bytes.
      devices: take the steps.
    """

    size: tuple[int, int] = (256, 256)
    seed: int = 0
    epochs: int = 500
    batch_size: int = 32
    optimizer: optax.GradientTransformation = _FASTFLOW
    rate: Rate = constant_rate
    vectors: int = 0
    augmentation: grain.transforms.RandomMap | None = None
    validate_every: int = 1
    keep_all: bool = False
    feature_memory: int = 8 * 2**30
    devices: Devices = PMAP


def keep_features(
    detector: Detector, dataset: AnomalyDataset, recipe: Recipe, say: Callable[[str], None]
) -> KeptFeatures | None:
    """Keep the feature maps of the training images, where training reads them again and again."""
    if recipe.augmentation is not None or detector.objective is None:
        return None
    features = KeptFeatures(detector.encoder, dataset.train, recipe.size, recipe.feature_memory)
    say(f"features of {len(features)} images computed once, kept in {features.place} memory")
    return features


def steps_per_epoch(dataset: AnomalyDataset, batch_size: int) -> int:
    """Return how many whole batches the training images make."""
    return len(dataset.train) // batch_size


def read_selections(
    detector: Detector, recipe: Recipe, workdir: Path, say: Callable[[str], None]
) -> dict[str, Trained]:
    """Read the latest checkpoints of `last` and of `best`, without what later passes learn.

    Raises:
      InputError: if there are some and none can be used.
    """
    template, selections = _template(detector, recipe), {}
    for name, folder in FOLDERS.items():
        if (workdir / folder).is_dir():
            with closing(Checkpoints(workdir / folder, read_only=True)) as checkpoints:
                found = checkpoints.restore_latest(template, say)
            if found is not None:
                info = found.info
                selections[name] = Trained(
                    found.step,
                    found.state.variables,
                    info["validation_nll"],
                    info.get("seconds_without_compilation"),
                )
    return selections


def read_checkpoints(detector: Detector, recipe: Recipe, workdir: Path) -> Iterator[Trained]:
    """Read all checkpoints of a run that kept them, one after another, as `read_selections`.

    Raises:
      InputError: if one is damaged.
    """
    template = _template(detector, recipe)
    with closing(Checkpoints(workdir / FOLDERS["last"], read_only=True)) as checkpoints:
        for step in checkpoints.steps:
            yield Trained(step, checkpoints.restore(step, template).state.variables)


def _template(detector: Detector, recipe: Recipe) -> Any:
    """Return the shapes and dtypes of a run's state."""
    return jax.eval_shape(
        lambda: create_state(
            detector.init(jax.random.key(0), recipe.size), recipe.optimizer, recipe.seed
        )
    )


def make_step(detector: Any, recipe: Recipe, encode: Encode = as_maps) -> Callable:
    """Return the training step of a recipe.

    Args:
      detector: with an objective.
      recipe: how.
      encode: gives the feature maps of a batch.
    """
    if recipe.vectors:
        return make_vector_step(
            detector,
            recipe.optimizer,
            vectors=recipe.vectors,
            rate=recipe.rate,
            encode=encode,
            devices=recipe.devices,
        )
    return make_train_step(
        detector.objective, recipe.optimizer, recipe.rate, encode, recipe.devices
    )


def make_trainer(
    detector: Detector,
    dataset: AnomalyDataset,
    features: KeptFeatures | None,
    recipe: Recipe,
    workdir: Path,
    say: Callable[[str], None],
    signals: Callable[[], AbstractContextManager[list[int]]] = no_signals,
) -> Trainer:
    """Return what trains by gradient to the end, from where the folder stands.

    Args:
      detector: with an objective.
      dataset: its held-out images choose `best`.
      features: of the training images, as `keep_features` gives them.
      recipe: how.
      workdir: keeps the checkpoints.
      say: takes lines for the user.
      signals: see `Trainer`.
    """
    batches: Batches
    if features is not None:
        batches = FeatureBatches(features, recipe.batch_size, recipe.seed, recipe.devices)
    else:
        batches = ImageBatches(
            detector.encoder,
            dataset.train,
            recipe.size,
            recipe.batch_size,
            recipe.seed,
            recipe.augmentation,
            recipe.devices,
        )
    held_out = KeptFeatures(
        detector.encoder, dataset.validation, recipe.size, recipe.feature_memory
    )
    validate = make_validation(
        _nats(detector),
        held_out.take,
        len(held_out),
        recipe.batch_size // jax.process_count(),
        recipe.devices,
    )
    steps = steps_per_epoch(dataset, recipe.batch_size)
    return Trainer(
        workdir,
        train_step=make_step(detector, recipe, batches.encode),
        batches=batches,
        validate=validate if len(held_out) else None,
        schedule=Schedule(recipe.epochs, steps, recipe.validate_every, recipe.keep_all),
        devices=recipe.devices,
        say=say,
        signals=signals,
    )


def _nats(detector: Detector) -> Callable[[Variables, Sequence[jax.Array]], jax.Array]:
    """Return what held-out images are judged by: the likelihood, or else what training reports."""
    likelihood, objective = detector.likelihood, detector.objective
    if likelihood is not None:
        return likelihood.nats
    assert objective is not None
    return lambda variables, maps: objective(variables, maps, jax.random.key(0))[1]
