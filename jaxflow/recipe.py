"""From a configuration to what a training step does: optimizer, learning rate, loss, groups."""

from collections.abc import Callable, Sequence

import ml_collections
import optax

from jaxflow.detectors import Detector
from jaxflow.errors import InputError
from jaxflow.parallel import check_batch_size
from jaxflow.training import (
    LOSSES,
    OPTIMIZERS,
    RATES,
    check_vectors,
    make_objective,
    make_train_step,
    make_vector_step,
    separately,
)


def check_recipe(config: ml_collections.ConfigDict) -> None:
    """Check the values of `config.training` that hang together.

    Raises:
      InputError: naming the key, what was expected and what was got.
    """
    training, model = config.training, config.model
    if training.schedule == "cosine_warmup" and not training.warmup_epochs < training.epochs:
        raise InputError(
            f"config.training.warmup_epochs {training.warmup_epochs}: the warm-up must end before "
            f"the training does; choose fewer than config.training.epochs, {training.epochs}"
        )
    if training.vectors and model.flow != "cflow":
        raise InputError(
            f"config.training.vectors {training.vectors}: {model.flow} looks at whole maps; set it "
            "to 0, or config.model.flow to cflow"
        )
    if training.vectors and model.normalization == "layer_norm_affine":
        raise InputError(
            f"config.training.vectors {training.vectors}: layer_norm_affine has parameters for "
            "whole maps; choose another config.model.normalization"
        )


def check_groups(config: ml_collections.ConfigDict, sizes: Sequence[tuple[int, int]]) -> None:
    """Check that the maps of a batch have enough vectors for a group, and devices can share it.

    Args:
      config: of the run.
      sizes: (height, width) of the feature maps.

    Raises:
      InputError: if not.
    """
    name, training = "config.training.vectors", config.training
    if training.vectors:
        check_batch_size(name, training.vectors)
        check_vectors(name, training.vectors, training.batch_size, sizes)


def make_optimizer(config: ml_collections.ConfigDict) -> optax.GradientTransformation:
    """Return the optimizer that `config.training` names."""
    training = config.training
    optimizer = OPTIMIZERS[training.optimizer](training.learning_rate, training.weight_decay)
    return separately(optimizer) if training.vectors else optimizer


def make_step(
    config: ml_collections.ConfigDict,
    detector: Detector,
    *,
    kept_features: bool,
    steps_per_epoch: int,
) -> Callable:
    """Return the training step that `config.training` describes.

    Args:
      config: of the run.
      detector: whose flows are trained.
      kept_features: whether batches are feature maps rather than images.
      steps_per_epoch: batches of images in an epoch.
    """
    training, optimizer = config.training, make_optimizer(config)
    loss = LOSSES[training.loss]
    rate = RATES[training.schedule](training.epochs, steps_per_epoch, training.warmup_epochs)
    if training.vectors:
        return make_vector_step(
            detector,
            optimizer,
            loss,
            vectors=training.vectors,
            kept_features=kept_features,
            rate=rate,
        )
    return make_train_step(make_objective(detector, kept_features, loss), optimizer, rate)
