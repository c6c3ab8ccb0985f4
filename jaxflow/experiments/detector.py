"""From a configuration to its encoder and its detector."""

import functools
import inspect
import math
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections

from jaxflow.detectors import CONDITIONS, DETECTORS, LOSSES, SCORES, Detector
from jaxflow.encoders import ENCODERS, Encoder, load_encoder
from jaxflow.errors import InputError
from jaxflow.experiments.user_files import place_of
from jaxflow.flows import COUPLINGS, FLOWS, LOG_SCALES, NORMALIZATIONS, PERMUTATIONS, Bijection
from jaxflow.flows.transform import make_transform

# What Flax gives to every module.
_OF_FLAX = {"parent", "name"}
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16, "float64": jnp.float64}
# What the keys choose from that an encoder and a detector are built of.
MODEL_CHOICES: Mapping[str, Collection[str]] = {
    "encoder.name": ENCODERS,
    "model.detector": DETECTORS,
    "model.flow": FLOWS,
    "model.normalization": NORMALIZATIONS,
    "model.condition": CONDITIONS,
    "model.coupling": COUPLINGS,
    "model.log_scale": LOG_SCALES,
    "model.permutation": PERMUTATIONS,
    "model.dtype": tuple(DTYPES),
    "training.loss": LOSSES,
}


def image_size(config: ml_collections.ConfigDict) -> tuple[int, int]:
    """Return (height, width) of the encoder's input, pixels."""
    height, width = config.data.image_size
    return height, width


def normalized_sizes(config: ml_collections.ConfigDict, encoder: Encoder) -> list[tuple[int, int]]:
    """Return the (height, width) of each map that a flow sees; computes nothing.

    Raises:
      InputError: if the encoder cannot take images of this size.
    """
    normalize = NORMALIZATIONS[config.model.normalization]()
    run = functools.partial(normalize.init_with_output, jax.random.key(0))
    maps = [
        jax.ShapeDtypeStruct((1, *s, 2), jnp.float32) for s in encoder.map_sizes(image_size(config))
    ]
    return [jax.eval_shape(run, x)[0].shape[1:3] for x in maps]


def make_encoder(config: ml_collections.ConfigDict) -> Encoder:
    """Load the frozen encoder that `config.encoder` names.

    Raises:
      InputError: see `load_encoder`.
    """
    encoder = config.encoder
    values = {
        "stages": tuple(encoder.stages) or None,
        "weights": encoder.weights,
        "tag": encoder.tag or None,
        "revision": encoder.revision or None,
        "seed": config.seed,
    }
    taken = parameters_of(ENCODERS[encoder.name]) & values.keys()
    options = {**encoder.options.to_dict(), **{name: values[name] for name in taken}}
    try:
        return load_encoder(encoder.name, **options)
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        raise InputError(f"{place_of(error) or 'config.encoder'}: {error}") from error


def parameters_of(build: Callable[..., Any]) -> set[str]:
    """Return the names of what a class or a function is made with."""
    return set(inspect.signature(build).parameters) - _OF_FLAX


def parts_of(model: ml_collections.ConfigDict) -> list[Callable[..., Any]]:
    """Return what `config.model` builds: the detector, its flow, and what its couplings do."""
    parts: list[Callable[..., Any]] = [DETECTORS[model.detector].build]
    for name, registry in (("flow", FLOWS), ("coupling", COUPLINGS)):
        parts += [registry[model[name]]] if name in parameters_of(parts[-1]) else []
    return parts


def make_flow(model: ml_collections.ConfigDict) -> Bijection:
    """Return the flow, of one map or of all, that `config.model` describes."""
    flow, options = FLOWS[model.flow], _options(FLOWS[model.flow], model)
    if "coupling" in options:
        transform = COUPLINGS[model.coupling]
        own = parameters_of(transform) & set(model.options) - parameters_of(flow)
        if own:
            chosen = {name: model.options[name] for name in own}
            options["coupling"] = make_transform(
                model.coupling, model.clamp, model.log_scale, **chosen
            )
    return flow(**options)


def make_detector(
    config: ml_collections.ConfigDict, encoder: Encoder, scores: Sequence[str] | None = None
) -> Detector:
    """Put the detector that `config.model` describes on an encoder.

    Args:
      config: of the run.
      encoder: frozen.
      scores: that are reported; None: `reported_scores`.

    Raises:
      InputError: if there is no such detector over its maps.
    """
    model, build = config.model, DETECTORS[config.model.detector].build
    names = parameters_of(build)
    options = _options(build, model)
    _check_kernels(config, encoder)
    try:
        if "flow" in names:
            options["flow"] = make_flow(model)
        if "loss" in names:
            options["loss"] = config.training.loss
        detector = build(encoder, scores=tuple(scores or reported_scores(config)), **options)
        shapes = jax.eval_shape(lambda: detector.init(jax.random.key(0), image_size(config)))
    except (TypeError, ValueError) as error:
        raise InputError(f"{place_of(error) or 'config.model'}: {error}") from error
    _check_memory(config, shapes)
    return detector


def _options(build: Callable[..., Any], model: ml_collections.ConfigDict) -> dict[str, Any]:
    """Return the keys of `config.model` and of its options that a part takes."""
    values = {**model.to_dict(), **model.options.to_dict(), "dtype": DTYPES[model.dtype]}
    return {name: values[name] for name in parameters_of(build) & values.keys() - {"flow"}}


def _check_kernels(config: ml_collections.ConfigDict, encoder: Encoder) -> None:
    """Check that no kernel is so wide that its ends never meet a position."""
    widest = 2 * max(max(size) for size in encoder.map_sizes(image_size(config))) - 1
    kernel = max(config.model.kernel_sizes)
    if any(
        "kernel_sizes" in parameters_of(part) for part in parts_of(config.model)
    ) and kernel > max(widest, 3):
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


def deciding_score(config: ml_collections.ConfigDict) -> str:
    """Return the score that decides: the config's, or the detector's usual one."""
    return config.evaluation.score or next(iter(DETECTORS[config.model.detector].meanings))


def is_relative(name: str) -> bool:
    """Tell whether a score is relative to the training images, as CFLOW's is to their maxima."""
    reference = SCORES[name].over_maps.reference if name in SCORES else None
    return reference is not None and not reference.held_out


def reported_scores(config: ml_collections.ConfigDict) -> tuple[str, ...]:
    """Return the scores that a run reports: the usual ones, and those its config asks for."""
    family = DETECTORS[config.model.detector]
    usual = inspect.signature(family.build).parameters["scores"].default
    relative = [name for name in SCORES if is_relative(name) and name in family.meanings]
    more = relative if config.evaluation.test_maximum else ()
    return tuple(dict.fromkeys([*usual, *asked_scores(config), *more]))


def asked_scores(config: ml_collections.ConfigDict) -> list[str]:
    """Return the scores that a config names: the one that decides, and those besides."""
    besides = [name.strip() for name in config.evaluation.scores.split(",")]
    if besides == ["all"]:
        besides = list(DETECTORS[config.model.detector].meanings)
    return [deciding_score(config), *filter(None, besides)]
