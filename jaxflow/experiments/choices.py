"""The registries that keys of a configuration choose from; plugins add to them."""

from collections.abc import Collection, Mapping

from jaxflow.data.augment import AUGMENTATIONS
from jaxflow.data.loading import DATASETS
from jaxflow.detectors import DETECTORS
from jaxflow.experiments.detector import MODEL_CHOICES
from jaxflow.training import OPTIMIZERS, RATES

CHOICES: Mapping[str, Collection[str]] = {
    "data.name": DATASETS,
    "data.augmentation": AUGMENTATIONS,
    **MODEL_CHOICES,
    "training.optimizer": OPTIMIZERS,
    "training.schedule": RATES,
}


def names() -> dict[str, list[str]]:
    """Return what can be chosen now, by key; each family of detectors has scores of its own."""
    scores = [score for family in DETECTORS.values() for score in family.meanings]
    return {**{key: list(each) for key, each in CHOICES.items()}, "evaluation.score": scores}
