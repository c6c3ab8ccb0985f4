"""Training: one step over all devices, kept features, validation and checkpoints."""

from jaxflow.training.batches import Batches, FeatureBatches, ImageBatches
from jaxflow.training.checkpoints import Checkpoint, Checkpoints
from jaxflow.training.clock import Clock
from jaxflow.training.features import KeptFeatures, encoded
from jaxflow.training.loop import Schedule, Trainer
from jaxflow.training.optimizers import OPTIMIZERS, separately
from jaxflow.training.passes import learn_after, run_passes
from jaxflow.training.rates import RATES
from jaxflow.training.recipe import (
    FOLDERS,
    Recipe,
    Trained,
    keep_features,
    make_step,
    make_trainer,
    read_checkpoints,
    read_selections,
    steps_per_epoch,
)
from jaxflow.training.step import (
    Encode,
    TrainState,
    as_maps,
    create_state,
    make_train_step,
)
from jaxflow.training.validation import make_validation, mean_nll
from jaxflow.training.vectors import check_vectors, make_vector_step

__all__ = [
    "Encode",
    "as_maps",
    "FOLDERS",
    "Recipe",
    "Trained",
    "keep_features",
    "learn_after",
    "make_step",
    "make_trainer",
    "read_checkpoints",
    "read_selections",
    "steps_per_epoch",
    "OPTIMIZERS",
    "RATES",
    "Batches",
    "Checkpoint",
    "Checkpoints",
    "Clock",
    "FeatureBatches",
    "ImageBatches",
    "KeptFeatures",
    "Schedule",
    "TrainState",
    "Trainer",
    "check_vectors",
    "create_state",
    "encoded",
    "make_train_step",
    "make_validation",
    "make_vector_step",
    "mean_nll",
    "run_passes",
    "separately",
]
