"""Training: one pmapped step, kept features, validation and checkpoints."""

from jaxflow.training.batches import Batches, FeatureBatches, ImageBatches, KeptFeatures
from jaxflow.training.checkpoints import Checkpoint, Checkpoints
from jaxflow.training.loop import Schedule, Trainer
from jaxflow.training.objectives import nll_objective
from jaxflow.training.optimizers import OPTIMIZERS
from jaxflow.training.step import (
    TrainState,
    create_state,
    make_train_step,
)
from jaxflow.training.validation import make_validation

__all__ = [
    "OPTIMIZERS",
    "Batches",
    "Checkpoint",
    "Checkpoints",
    "FeatureBatches",
    "ImageBatches",
    "KeptFeatures",
    "Schedule",
    "TrainState",
    "Trainer",
    "create_state",
    "make_train_step",
    "make_validation",
    "nll_objective",
]
