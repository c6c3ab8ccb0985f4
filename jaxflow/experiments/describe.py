"""What the figures of a run depend on, in words."""

import ml_collections

from jaxflow.experiments.build import Experiment
from jaxflow.model import Model

TITLES = {"last": "last", "best": "best by validation likelihood", "oracle": "best on test"}


def protocol(experiment: Experiment) -> dict[str, object]:
    """Return what the figures of a run depend on, for its report."""
    detector, dataset, recipe = experiment.detector, experiment.dataset, experiment.recipe
    encoder = detector.encoder
    plugins = experiment.about["facts"]["plugins"].items()
    return {
        "data set": f"{dataset.name} ({dataset.category})",
        "images": f"{len(dataset.train)} train, {len(dataset.validation)} validation (not trained "
        f"on), {0 if dataset.test is None else len(dataset.test)} test",
        "data fingerprint": dataset.fingerprint,
        "input size": "{} x {}".format(*recipe.size),
        "augmentation": experiment.about["config"]["data"]["augmentation"],
        "encoder": f"{encoder.name}, stages {list(encoder.stages)}, tag {encoder.tag or 'unknown'}",
        "neighbourhood of the encoder's maps": encoder.neighbourhood,
        "encoder's maps pooled": "yes" if encoder.pooled else "no",
        "scales of the encoder's input": ", ".join(map(str, encoder.input_scales)),
        "encoder weights SHA-256": encoder.sha256 or "random weights",
        "encoder weights commit": encoder.commit or "not from the hub",
        "detector": detector.describe(),
        "budget": experiment.budget,
        "seed": recipe.seed,
        "plugins": ", ".join(f"{name}, SHA-256 {sha256}" for name, sha256 in plugins) or "none",
    }


def features_of(config: ml_collections.ConfigDict, model: Model) -> str:
    """Say which features a model sees: likelihoods of other features do not compare."""
    encoder, (height, width) = model.detector.encoder, model.size
    averaged = f", neighbourhood {encoder.neighbourhood}" if encoder.neighbourhood > 1 else ""
    averaged += ", pooled" if encoder.pooled else ""
    if len(encoder.input_scales) > 1:
        averaged += f", input scales {list(encoder.input_scales)}"
    return (
        f"{config.data.name}, {height} x {width}, {encoder.name}, stages {list(encoder.stages)}"
        f"{averaged}"
    )
