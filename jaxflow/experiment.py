"""From a configuration to the objects of a run: the command line's bridge to the layers below."""

import contextlib
import functools
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
from flax import linen as nn

from jaxflow.data import AnomalyDataset, load_dataset
from jaxflow.detectors import (
    MAXIMA,
    SCORES_WITH_MAXIMA,
    USUAL_SCORES,
    Detector,
    FlowPyramid,
)
from jaxflow.encoders import Encoder, load_encoder
from jaxflow.errors import InputError
from jaxflow.flows import CFlowDecoder, FastFlow2D
from jaxflow.recipe import make_optimizer
from jaxflow.training import (
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


class Selection(NamedTuple):
    """A state of a run that is reported.

    Attributes:
      step: batches of images taken.
      variables: of the detector's flows, the training set's maxima among the constants where the
        checkpoint has them.
    """

    step: int
    variables: dict[str, Any]


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
        "encoder weights commit": encoder.commit or "not from the hub",
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
    return {
        "encoder_sha256": encoder.sha256,
        "encoder_commit": encoder.commit,
        "data_fingerprint": dataset.fingerprint,
    }


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
