"""Training: one pmapped step, kept features, validation and checkpoints."""

from jaxflow.training.batches import Batches, FeatureBatches, ImageBatches, KeptFeatures
from jaxflow.training.checkpoints import Checkpoint, Checkpoints
from jaxflow.training.loop import Schedule, Trainer
from jaxflow.training.objectives import LOSSES, make_objective, nll_objective
from jaxflow.training.optimizers import OPTIMIZERS, separately
from jaxflow.training.rates import RATES
from jaxflow.training.step import (
    TrainState,
    create_state,
    make_train_step,
)
from jaxflow.training.validation import make_validation
from jaxflow.training.vectors import check_vectors, make_vector_step

__all__ = [
    "LOSSES",
    "OPTIMIZERS",
    "RATES",
    "Batches",
    "Checkpoint",
    "Checkpoints",
    "FeatureBatches",
    "ImageBatches",
    "KeptFeatures",
    "Schedule",
    "TrainState",
    "Trainer",
    "check_vectors",
    "create_state",
    "make_objective",
    "make_train_step",
    "make_validation",
    "make_vector_step",
    "nll_objective",
    "separately",
]
