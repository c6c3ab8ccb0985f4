"""From a configuration to the objects of a run: the command line's bridge to the layers below."""

import contextlib
import functools
import math
import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
from flax import linen as nn

from jaxflow.config import default_config
from jaxflow.data import AUGMENTATIONS, AnomalyDataset, load_dataset
from jaxflow.detectors import (
    CONDITIONS,
    MAXIMA,
    NORMALIZATIONS,
    SCORES,
    SCORES_WITH_MAXIMA,
    USUAL_SCORES,
    Detector,
    FlowPyramid,
)
from jaxflow.encoders import Encoder, load_encoder
from jaxflow.errors import InputError
from jaxflow.flows import COUPLINGS, LOG_SCALES, PERMUTATIONS, CFlowDecoder, FastFlow2D
from jaxflow.recipe import check_recipe, make_optimizer
from jaxflow.training import (
    LOSSES,
    OPTIMIZERS,
    RATES,
    Checkpoint,
    Checkpoints,
    TrainState,
    create_state,
)

# Selection -> folder of its checkpoints in a workdir.
FOLDERS = {"last": "checkpoints", "best": "best"}
TITLES = {"last": "last", "best": "best by validation likelihood", "oracle": "best on test"}

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16, "float64": jnp.float64}


def _fastflow(model: ml_collections.ConfigDict) -> Callable[[], nn.Module]:
    return functools.partial(
        FastFlow2D, kernel_sizes=tuple(model.kernel_sizes), **_coupling_options(model)
    )


def _cflow(model: ml_collections.ConfigDict) -> Callable[[], nn.Module]:
    return functools.partial(CFlowDecoder, **_coupling_options(model))


def _coupling_options(model: ml_collections.ConfigDict) -> dict[str, Any]:
    names = ("steps", "hidden_ratio", "clamp", "coupling", "log_scale", "permutation")
    return {name: model[name] for name in names} | {"dtype": DTYPES[model.dtype]}


# Name -> function of `config.model` that gives what makes the flow of one feature map.
FLOWS: dict[str, Callable[[ml_collections.ConfigDict], Callable[[], nn.Module]]] = {
    "fastflow": _fastflow,
    "cflow": _cflow,
}

_CHOICES: dict[str, Collection[str]] = {
    "data.augmentation": AUGMENTATIONS,
    "model.flow": FLOWS,
    "model.normalization": NORMALIZATIONS,
    "model.condition": CONDITIONS,
    "model.coupling": COUPLINGS,
    "model.log_scale": LOG_SCALES,
    "model.permutation": PERMUTATIONS,
    "model.dtype": DTYPES,
    "training.optimizer": OPTIMIZERS,
    "training.loss": LOSSES,
    "training.schedule": RATES,
    "evaluation.score": SCORES,
}
_POSITIVE = (
    "model.steps",
    "model.hidden_ratio",
    "model.clamp",
    "training.epochs",
    "training.batch_size",
    "training.learning_rate",
    "training.validate_every",
    "evaluation.batch_size",
)
_NOT_NEGATIVE = (
    "seed",
    "training.vectors",
    "training.warmup_epochs",
    "training.weight_decay",
    "training.feature_memory_gib",
)
# The greatest values that make sense; beyond, numbers overflow or nothing ever ends.
_AT_MOST = {
    "seed": 2**32 - 1,
    "model.steps": 1000,
    "model.hidden_ratio": 1000,
    "model.clamp": 80,
    "model.condition_dim": 2**16,
    "training.epochs": 10**7,
    "training.batch_size": 2**16,
    "training.vectors": 2**31 - 1,
    "training.learning_rate": 1000,
    "training.warmup_epochs": 10**7,
    "training.weight_decay": 1000,
    "training.validate_every": 10**7,
    "training.feature_memory_gib": 2**20,
    "evaluation.batch_size": 2**16,
}
LONGEST_SIDE = 2**14


class Selection(NamedTuple):
    """A state of a run that is reported.

    Attributes:
      step: batches of images taken.
      variables: of the detector's flows, the training set's maxima among the constants where the
        checkpoint has them.
    """

    step: int
    variables: dict[str, Any]


def check_config(config: ml_collections.ConfigDict) -> None:
    """Check the values that can be checked before anything is loaded.

    Raises:
      InputError: naming the key, what was expected and what was got.
    """
    for key, choices in _CHOICES.items():
        value = _value(config, key)
        if value not in choices:
            raise InputError(
                f"config.{key} must be one of {', '.join(sorted(choices))}, got {value!r}"
            )
    for key in _POSITIVE:
        value = _value(config, key)
        if not value > 0:
            raise InputError(f"config.{key} must be positive, got {value!r}")
    for key in _NOT_NEGATIVE:
        value = _value(config, key)
        if not value >= 0:
            raise InputError(f"config.{key} must not be negative, got {value!r}")
    for key, most in _AT_MOST.items():
        value = _value(config, key)
        if value > most:
            raise InputError(f"config.{key} must be at most {most}, got {value!r}")
    if config.model.dtype == "float64" and jnp.result_type(float) != jnp.float64:
        raise InputError(
            "config.model.dtype float64: JAX computes in float32 unless the environment variable "
            "JAX_ENABLE_X64 is 1; set it, or choose float32"
        )
    size, kernels = tuple(config.data.image_size), tuple(config.model.kernel_sizes)
    sides = [isinstance(side, int) and 0 < side <= LONGEST_SIDE for side in size]
    if len(size) != 2 or not all(sides):
        raise InputError(
            "config.data.image_size must be (height, width) in whole pixels, at most "
            f"{LONGEST_SIDE} each, got {size}"
        )
    if not kernels or not all(isinstance(k, int) and k > 0 and k % 2 for k in kernels):
        raise InputError(
            f"config.model.kernel_sizes must be odd whole numbers, at least one, got {kernels}"
        )
    for key in ("image_quantile", "pixel_quantile"):
        if not 0 < config.evaluation[key] < 1:
            raise InputError(
                f"config.evaluation.{key} must lie in (0, 1), got {config.evaluation[key]}"
            )
    check_recipe(config)


def check_effects(config: ml_collections.ConfigDict) -> None:
    """Check that no option is set that the others take all effect from.

    Raises:
      InputError: naming the option, and what takes its effect.
    """
    model, defaults = config.model, default_config()
    without = {
        "model.condition_dim": ("model.condition none", model.condition == "none"),
        "model.kernel_sizes": (f"model.flow {model.flow}", model.flow != "fastflow"),
        "training.warmup_epochs": (
            "training.schedule constant",
            config.training.schedule == "constant",
        ),
        "encoder.revision": ("encoder.weights of a file", config.encoder.weights != "hub"),
    }
    for key, (reason, idle) in without.items():
        value, default = _value(config, key), _value(defaults, key)
        if idle and value != default:
            raise InputError(
                f"config.{key} {value!r} has no effect with {reason}; leave it at {default!r}, or "
                "change that"
            )


def _value(config: Any, key: str) -> Any:
    for part in key.split("."):
        config = config[part]
    return config


def image_size(config: ml_collections.ConfigDict) -> tuple[int, int]:
    """Return (height, width) of the encoder's input, pixels."""
    height, width = config.data.image_size
    return height, width


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


def make_encoder(config: ml_collections.ConfigDict) -> Encoder:
    """Load the frozen encoder that `config.encoder` names.

    Raises:
      InputError: see `load_encoder`.
    """
    encoder = config.encoder
    return load_encoder(
        encoder.name,
        stages=tuple(encoder.stages) or None,
        weights=encoder.weights,
        tag=encoder.tag or None,
        revision=encoder.revision or None,
        seed=config.seed,
    )


def make_detector(config: ml_collections.ConfigDict, encoder: Encoder) -> Detector:
    """Put the flows that `config.model` describes over the encoder's maps.

    Raises:
      InputError: if there are no such flows over these maps.
    """
    model = config.model
    pyramid = FlowPyramid(
        FLOWS[model.flow](model),
        maps=len(encoder.channels),
        normalization=model.normalization,
        condition=model.condition,
        condition_dim=model.condition_dim,
    )
    detector = Detector(encoder, pyramid, reported_scores(config))
    _check_kernels(config, encoder)
    try:
        shapes = jax.eval_shape(lambda: detector.init(jax.random.key(0), image_size(config)))
    except ValueError as error:
        raise InputError(f"config.model: {error}") from error
    _check_memory(config, shapes)
    return detector


def _check_kernels(config: ml_collections.ConfigDict, encoder: Encoder) -> None:
    """Check that no kernel is so wide that its ends never meet a position."""
    widest = 2 * max(max(size) for size in encoder.map_sizes(image_size(config))) - 1
    kernel = max(config.model.kernel_sizes)
    if config.model.flow == "fastflow" and kernel > max(widest, 3):
        raise InputError(
            f"config.model.kernel_sizes: {kernel} is wider than both sides of the largest map "
            f"reach; use at most {widest}"
        )


def _check_memory(config: ml_collections.ConfigDict, shapes: Any) -> None:
    """Check that parameters, gradients and moments, and a batch of images, can fit at all."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    size = image_size(config)
    batch = max(config.training.batch_size, config.evaluation.batch_size)
    needed = {
        "config.model": 16 * sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes)),
        "config.data.image_size and batch_size": 12 * batch * size[0] * size[1],
    }
    for what, count in needed.items():
        if count > memory:
            raise InputError(
                f"{what}: at least {count / 2**30:.0f} GiB are needed and this machine has "
                f"{memory / 2**30:.0f}; choose smaller"
            )


def reported_scores(config: ml_collections.ConfigDict) -> tuple[str, ...]:
    """Return the scores that a run reports: the usual ones, and those its config asks for."""
    evaluation = config.evaluation
    more = [evaluation.score, *(SCORES_WITH_MAXIMA if evaluation.test_maximum else ())]
    return tuple(dict.fromkeys([*USUAL_SCORES, *more]))


def protocol(config: ml_collections.ConfigDict, encoder: Encoder, dataset: AnomalyDataset) -> dict:
    """Return what the figures of a run depend on, for its report."""
    training = config.training
    return {
        "data set": f"{dataset.name} ({dataset.category})",
        "images": f"{len(dataset.train)} train, {len(dataset.validation)} validation (held out of "
        f"train), {0 if dataset.test is None else len(dataset.test)} test",
        "data fingerprint": dataset.fingerprint,
        "input size": "{} x {}".format(*image_size(config)),
        "augmentation": config.data.augmentation,
        "encoder": f"{encoder.name}, stages {list(encoder.stages)}, tag {encoder.tag or 'unknown'}",
        "encoder weights SHA-256": encoder.sha256 or "random weights",
        "flow": describe_flow(config),
        "budget": f"{training.epochs} epochs, batch {training.batch_size}, "
        f"{training.optimizer} {training.learning_rate} {training.schedule}, loss {training.loss}, "
        + describe_groups(config),
        "seed": config.seed,
    }


def describe_flow(config: ml_collections.ConfigDict) -> str:
    """Return `config.model` in a line."""
    model = config.model
    kernels = f"kernels {list(model.kernel_sizes)}, " if model.flow == "fastflow" else ""
    return (
        f"{model.flow}, {model.steps} steps, {kernels}{model.coupling}, "
        f"hidden ratio {model.hidden_ratio:.3g}, clamp {model.clamp}, "
        f"{model.permutation} permutation, {model.normalization}, condition {model.condition}"
    )


def describe_groups(config: ml_collections.ConfigDict) -> str:
    """Return what an optimizer step sees."""
    vectors = config.training.vectors
    return f"groups of {vectors} vectors" if vectors else "whole maps"


def run_facts(encoder: Encoder, dataset: AnomalyDataset) -> dict[str, Any]:
    """Return what a config does not say: hashes of the encoder's weights and of the data."""
    return {"encoder_sha256": encoder.sha256, "data_fingerprint": dataset.fingerprint}


def load_selections(
    workdir: Path,
    config: ml_collections.ConfigDict,
    detector: Detector,
    warn: Callable[[str], None],
) -> dict[str, Selection]:
    """Read the states that a run reports: `last`, and `best` if images were held out.

    Raises:
      InputError: if the folder holds no whole checkpoint, or one lacks the maxima that a score of
        the detector needs.
    """
    template = state_template(config, detector)
    selections = {}
    for name, folder in FOLDERS.items():
        if not (workdir / folder).is_dir():
            continue
        with contextlib.closing(Checkpoints(workdir / folder, read_only=True)) as checkpoints:
            found = checkpoints.restore_latest(template, warn)
        if found is not None:
            selections[name] = _selection(found, detector, workdir / folder)
    if "last" not in selections:
        raise InputError(f"{workdir} holds no checkpoint yet; the same train command goes on")
    return selections


def load_checkpoints(
    workdir: Path, config: ml_collections.ConfigDict, detector: Detector
) -> Iterator[Selection]:
    """Read all states of a run that kept them, one after another.

    Raises:
      InputError: if one is damaged.
    """
    template = state_template(config, detector)
    with contextlib.closing(Checkpoints(workdir / FOLDERS["last"], read_only=True)) as checkpoints:
        for step in checkpoints.steps:
            checkpoint = checkpoints.restore(step, template)
            yield _selection(checkpoint, detector, workdir / FOLDERS["last"])


def _selection(checkpoint: Checkpoint, detector: Detector, folder: Path) -> Selection:
    variables = checkpoint.state.variables
    if checkpoint.maxima is not None:
        variables["constants"] = {**variables["constants"], MAXIMA: checkpoint.maxima}
    elif set(detector.scores) & set(SCORES_WITH_MAXIMA):
        raise InputError(
            f"checkpoint {folder / str(checkpoint.step)} has no likelihood maxima of the training "
            "images; finish the training: the same train command goes on"
        )
    return Selection(checkpoint.step, variables)


def state_template(config: ml_collections.ConfigDict, detector: Detector) -> TrainState:
    """Return the shapes and dtypes of a run's state."""
    optimizer, size = make_optimizer(config), image_size(config)
    return jax.eval_shape(
        lambda: create_state(detector.init(jax.random.key(0), size), optimizer, 0)
    )
