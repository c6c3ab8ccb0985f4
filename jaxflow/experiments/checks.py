"""Checks of a configuration that need nothing loaded."""

from typing import Any

import jax
import jax.numpy as jnp
import ml_collections

from jaxflow.detectors import DETECTORS
from jaxflow.encoders import ENCODERS, options_of
from jaxflow.errors import InputError, suggest
from jaxflow.experiments.choices import CHOICES
from jaxflow.experiments.config import default_config
from jaxflow.experiments.detector import (
    asked_scores,
    deciding_score,
    make_flow,
    parameters_of,
    parts_of,
)
from jaxflow.flows import FLOWS, NORMALIZATIONS, Bijection

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
# Parameters of parts that are no options: other keys give them, or they are objects.
_NO_OPTIONS = {
    "encoder": {"seed", "dtype"},
    "model": {"encoder", "flow", "scores", "loss", "base", "output_init"},
}


def check_config(config: ml_collections.ConfigDict) -> None:
    """Check the values that can be checked before anything is loaded.

    Raises:
      InputError: naming the key, what was expected and what was got.
    """
    for key, choices in CHOICES.items():
        value = _value(config, key)
        if value not in choices:
            more = ", or come with --plugin" if isinstance(choices, dict) else ""
            raise InputError(
                f"config.{key} must be one of {', '.join(sorted(choices))}{more}, got {value!r}"
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
    scores = DETECTORS[config.model.detector].meanings
    for score in asked_scores(config):
        if score not in scores:
            key = "score" if score == deciding_score(config) else "scores"
            raise InputError(
                f"config.evaluation.{key} must be one of {', '.join(sorted(scores))}, also with an "
                f"end such as -top, got {score!r}"
            )
    _check_options(config)
    _check_training(config)


def _check_options(config: ml_collections.ConfigDict) -> None:
    """Check that options of the encoder, the detector and its flow are parameters of theirs."""
    encoder, model = config.encoder, config.model
    taken = {
        "encoder": (encoder.name, options_of(encoder.name)),
        "model": (model.detector, set().union(*map(parameters_of, parts_of(model)))),
    }
    for section, (part, parameters) in taken.items():
        known = parameters - _NO_OPTIONS[section] - set(config[section])
        for name in config[section].options:
            if name not in known:
                raise InputError(
                    f"config.{section}.options.{name}: no such option of {part}; "
                    f"{suggest(name, known)}"
                )


def _check_training(config: ml_collections.ConfigDict) -> None:
    """Check values of `config.training` that depend on each other or on `config.model`."""
    training, model = config.training, config.model
    if training.schedule != "constant" and not training.warmup_epochs < training.epochs:
        raise InputError(
            f"config.training.warmup_epochs {training.warmup_epochs}: the warm-up must end before "
            f"the training does; choose fewer than config.training.epochs, {training.epochs}"
        )
    if not DETECTORS[model.detector].trained:
        return
    if training.vectors and not _takes_vectors(make_flow(model)):
        pointwise = " or ".join(name for name, flow in FLOWS.items() if _takes_vectors(flow()))
        raise InputError(
            f"config.training.vectors {training.vectors}: {model.flow} looks at whole maps; set it "
            f"to 0, or config.model.flow to {pointwise}"
        )
    if training.vectors and _is_trained(NORMALIZATIONS[model.normalization]()):
        raise InputError(
            f"config.training.vectors {training.vectors}: {model.normalization} has parameters for "
            "whole maps; choose another config.model.normalization"
        )


def _takes_vectors(flow: Bijection) -> bool:
    """Tell whether a flow can be trained on groups of the vectors of one map."""
    return flow.pointwise and not flow.joint


def _is_trained(flow: Bijection) -> bool:
    """Tell whether a flow of maps has parameters; computes nothing."""
    x = jax.ShapeDtypeStruct((1, 2, 2, 2), jnp.float32)
    return "params" in jax.eval_shape(flow.init, jax.random.key(0), x)


def check_effects(config: ml_collections.ConfigDict) -> None:
    """Check that no option is set that the others take all effect from.

    Raises:
      InputError: naming the option, and what takes its effect.
    """
    model, defaults = config.model, default_config()
    taken = set().union(*map(parameters_of, parts_of(model))) | {"detector", "options", "dtype"}
    part = model.flow if "flow" in taken else model.detector
    read = parameters_of(ENCODERS[config.encoder.name]) | {
        "name",
        "options",
        "random_if_unreachable",
    }
    without = {
        **{
            f"encoder.{key}": (f"encoder {config.encoder.name}", key not in read)
            for key in config.encoder
        },
        **{f"model.{key}": (f"model {part}", key not in taken) for key in model},
        "training.warmup_epochs": (
            "training.schedule constant",
            config.training.schedule == "constant",
        ),
        "data.augmentation": (
            f"model.detector {model.detector}, which looks at each image once",
            not DETECTORS[model.detector].trained,
        ),
    }
    if config.encoder.weights != "hub":
        without["encoder.revision"] = ("encoder.weights of a file", True)
    if model.condition == "none":
        without["model.condition_dim"] = ("model.condition none", True)
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
