"""Data sets of normal and anomalous images, and how training and evaluation read them."""

from jaxflow.data.augment import AUGMENTATIONS
from jaxflow.data.disturb import TEST_SETS, disturbed
from jaxflow.data.example import AnomalyDataset, Example, Split
from jaxflow.data.loading import DATASETS, load_dataset
from jaxflow.data.pipeline import (
    epoch_batches,
    read_images,
    read_in_batches,
    read_masks,
    train_iterator,
)

__all__ = [
    "AUGMENTATIONS",
    "DATASETS",
    "TEST_SETS",
    "AnomalyDataset",
    "Example",
    "Split",
    "disturbed",
    "epoch_batches",
    "load_dataset",
    "read_images",
    "read_in_batches",
    "read_masks",
    "train_iterator",
]
