"""What the figures of a run depend on, in words."""

from typing import Any

import ml_collections

from jaxflow.data import AnomalyDataset
from jaxflow.detectors import Detector
from jaxflow.encoders import Encoder
from jaxflow.experiments.build import image_size

TITLES = {"last": "last", "best": "best by validation likelihood", "oracle": "best on test"}


def protocol(
    config: ml_collections.ConfigDict, detector: Detector, dataset: AnomalyDataset
) -> dict[str, object]:
    """Return what the figures of a run depend on, for its report."""
    encoder = detector.encoder
    return {
        "data set": f"{dataset.name} ({dataset.category})",
        "images": f"{len(dataset.train)} train, {len(dataset.validation)} validation (held out of "
        f"train), {0 if dataset.test is None else len(dataset.test)} test",
        "data fingerprint": dataset.fingerprint,
        "input size": "{} x {}".format(*image_size(config)),
        "augmentation": config.data.augmentation,
        "encoder": f"{encoder.name}, stages {list(encoder.stages)}, tag {encoder.tag or 'unknown'}",
        "encoder weights SHA-256": encoder.sha256 or "random weights",
        "encoder weights commit": encoder.commit or "not from the hub",
        "detector": detector.describe(),
        "budget": _budget(config) if detector.objective else "one look at each training image",
        "seed": config.seed,
    }


def _budget(config: ml_collections.ConfigDict) -> str:
    training = config.training
    return (
        f"{training.epochs} epochs, batch {training.batch_size}, {training.optimizer} "
        f"{training.learning_rate} {training.schedule}, loss {training.loss}, "
        f"{describe_groups(config)}"
    )


def describe_groups(config: ml_collections.ConfigDict) -> str:
    """Return what an optimizer step sees."""
    vectors = config.training.vectors
    return f"groups of {vectors} vectors" if vectors else "whole maps"


def run_facts(encoder: Encoder, dataset: AnomalyDataset) -> dict[str, Any]:
    """Return what a config does not say: hashes of the encoder's weights and of the data."""
    return {
        "encoder_sha256": encoder.sha256,
        "encoder_commit": encoder.commit,
        "data_fingerprint": dataset.fingerprint,
    }
