"""Every key of a run's configuration: its default and what it means, once; and config files."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import ml_collections
from absl import flags
from ml_collections import config_flags
from ml_collections.config_flags import config_path

from jaxflow.errors import InputError, suggest
from jaxflow.experiments.user_files import in_one_line, run_file

# key, default, meaning; help adds what can be chosen. An empty string or tuple stands for "the
# default of what is named".
KEYS: tuple[tuple[str, object, str], ...] = (
    ("seed", 0, "seeds parameter initialization, data order and the validation split"),
    ("data.name", "textures", "data set"),
    ("data.category", "", "category of the data set; an unknown one lists those that exist"),
    ("data.data_dir", "", "folder of the downloaded images"),
    ("data.cache_dir", "", "folder of prepared data; empty: ~/tensorflow_datasets"),
    ("data.image_size", (256, 256), "height and width of the encoder's input, pixels"),
    ("data.validation_fraction", 0.1, "fraction of normal training images held out for validation"),
    ("data.augmentation", "none", "augmentation of training images"),
    ("encoder.name", "resnet18", "frozen encoder"),
    ("encoder.stages", (), "stages (CNN) or blocks (transformer) whose maps are used"),
    ("encoder.weights", "hub", "encoder weights: hub, the path of a .safetensors file, or random"),
    ("encoder.tag", "", "training recipe of the encoder weights, such as tv_in1k"),
    ("encoder.revision", "", "branch, tag or commit of the hub's repository"),
    ("encoder.random_if_unreachable", False, "use random weights where the hub cannot be reached"),
    ("model.detector", "flow", "family of detectors"),
    ("model.flow", "fastflow", "flow of each feature map, or of all together"),
    ("model.steps", 8, "number of coupling steps of each flow"),
    (
        "model.kernel_sizes",
        (3, 1),
        "FastFlow's kernel sizes, repeated over the steps",
    ),
    ("model.hidden_ratio", 1.0, "hidden width divided by the channels that condition"),
    ("model.clamp", 2.0, "bound of the absolute log-scale of a coupling"),
    ("model.coupling", "additive", "kind of coupling"),
    ("model.log_scale", "tanh", "form of the log-scale"),
    ("model.permutation", "hard", "channel permutation between steps"),
    ("model.normalization", "whiten", "what is done to the feature maps before the flow"),
    ("model.condition", "none", "condition of the flows"),
    ("model.condition_dim", 128, "channels of the position encoding, a multiple of 4"),
    ("model.dtype", "float32", "compute dtype of the flows"),
    ("training.epochs", 500, "number of passes over the training images"),
    ("training.batch_size", 32, "images in a training step, over all devices"),
    ("training.vectors", 0, "feature vectors in an optimizer step (CFLOW); 0: whole maps"),
    ("training.loss", "nll", "training loss"),
    ("training.optimizer", "adam_l2", "optimizer"),
    ("training.learning_rate", 1e-3, "learning rate of the optimizer"),
    ("training.schedule", "constant", "learning-rate schedule"),
    ("training.warmup_epochs", 2, "epochs in which a warm-up raises the learning rate"),
    ("training.weight_decay", 1e-5, "weight decay of the optimizer"),
    ("training.validate_every", 1, "number of epochs between validations and checkpoints"),
    ("training.keep_all", False, "keep all checkpoints; evaluate --oracle needs them"),
    ("training.feature_memory_gib", 8.0, "size above which kept features go to a file, GiB"),
    ("evaluation.score", "", "deciding score, one that the detector has; empty: its usual one"),
    (
        "evaluation.scores",
        "",
        "scores reported besides the usual ones, separated by commas, such as volume,nll-top; all: "
        "every one that the detector lists",
    ),
    (
        "evaluation.test_maximum",
        False,
        "add cflow with the test set's maximum, an oracle",
    ),
    ("evaluation.batch_size", 32, "images in a scoring step, over this host's devices"),
    ("evaluation.image_quantile", 0.95, "quantile of validation image scores: the image threshold"),
    (
        "evaluation.pixel_quantile",
        0.995,
        "quantile of validation pixels: the pixel threshold",
    ),
)


_DEFAULTS = {key: default for key, default, _ in KEYS}
_WITH_OPTIONS = ("data", "encoder", "model")
_OPTIONS = tuple(f"{section}.options." for section in _WITH_OPTIONS)
_KINDS = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "text",
    tuple: "whole numbers in parentheses",
}


def default_config() -> ml_collections.ConfigDict:
    """Return the defaults as a ConfigDict; `options` take what only the chosen part has."""
    config = ml_collections.ConfigDict({section: {"options": {}} for section in _WITH_OPTIONS})
    for key, default, _ in KEYS:
        *sections, name = key.split(".")
        place = config
        for section in sections:
            if section not in place:
                place[section] = ml_collections.ConfigDict()
            place = place[section]
        place[name] = default
    return config


def cflow_config() -> ml_collections.ConfigDict:
    """Return the defaults with the settings of CFLOW-AD (arXiv 2107.12571, section 5.1)."""
    config = default_config()
    config.data.augmentation = "cflow"
    config.encoder.stages = (2, 3, 4)
    config.model.flow = "cflow"
    config.model.coupling = "affine"
    config.model.condition = "position"
    config.model.hidden_ratio = 2.0
    config.model.clamp = 1.9
    config.model.permutation = "soft"
    config.model.normalization = "none"
    config.training.epochs = 100
    config.training.vectors = 256
    config.training.loss = "log_sigmoid"
    config.training.learning_rate = 2e-4
    config.training.weight_decay = 0.0
    config.training.schedule = "cosine_warmup"
    config.training.warmup_epochs = 2
    config.evaluation.score = "cflow"
    return config


def msflow_config() -> ml_collections.ConfigDict:
    """Return the defaults with the settings of MSFlow's public code (arXiv 2308.15300)."""
    config = default_config()
    config.encoder.stages = (1, 2, 3)
    config.model.flow = "msflow"
    config.model.condition = "position"
    config.model.condition_dim = 64
    config.model.clamp = 1.9
    config.model.normalization = "average_pool"
    config.training.epochs = 100
    config.training.batch_size = 16
    config.training.optimizer = "adam_clipped"
    config.training.learning_rate = 1e-4
    config.training.weight_decay = 0.0
    config.training.schedule = "steps_warmup"
    config.training.warmup_epochs = 12
    config.evaluation.score = "msflow-top3"
    config.evaluation.scores = "msflow_sum"
    return config


def u_shaped_config() -> ml_collections.ConfigDict:
    """Return the defaults with the settings of U-Flow's public code (arXiv 2211.12353)."""
    config = default_config()
    config.encoder.stages = (1, 2, 3)
    config.model.flow = "u_shaped"
    config.model.coupling = "affine"
    config.model.steps = 4
    config.model.normalization = "layer_norm_affine"
    config.training.epochs = 200
    config.training.batch_size = 8
    config.training.learning_rate = 1e-4
    return config


def describe_keys() -> str:
    """Return for each key its name, its default and, indented below, its meaning and choices."""
    from jaxflow.experiments.choices import names  # It imports every registry: seconds.

    lines = []
    for key, default, meaning in KEYS:
        chosen = f": {', '.join(names()[key])}" if key in names() else ""
        wrapped = textwrap.wrap(
            meaning + chosen, 80, initial_indent=" " * 6, subsequent_indent=" " * 6
        )
        lines += [f"  {key} [{default}]", *wrapped]
    return "\n".join(lines)


def load_config(path: str) -> ml_collections.ConfigDict:
    """Run a config file, the user's own Python, and return what its `get_config()` gives.

    Raises:
      InputError: if there is no such file, it fails, or it gives no configuration of these keys.
    """
    if not Path(path).is_file():
        raise InputError(f"--config {path}: no such file; configs lie in configs/")
    with in_one_line(f"--config {path}", path):
        get_config = run_file(path, f"jaxflow_config_{Path(path).stem}")[0].get("get_config")
        config = get_config() if callable(get_config) else None
        if isinstance(config, ml_collections.ConfigDict):
            config = ml_collections.ConfigDict(config.to_dict())  # All resolved, none frozen.
    if not isinstance(config, ml_collections.ConfigDict):
        raise InputError(
            f"--config {path}: expected a function get_config() that returns a ConfigDict, got "
            f"{config!r}; start from jaxflow.experiments.config.default_config()"
        )
    check_complete(f"--config {path}", config)
    check_types(f"--config {path}", config)
    return config


def check_types(place: str, config: ml_collections.ConfigDict) -> None:
    """Check that each value is of its default's type.

    Args:
      place: where the config stands, for the message.
      config: with all keys.

    Raises:
      InputError: naming the first value of another type, not finite, or with a null character.
    """
    for key in _keys(config):
        value, default = config_path.get_value(key, config), _DEFAULTS.get(key)
        if isinstance(value, str) and "\0" in value:
            raise InputError(f"{place}: {key} holds a null character, got {value!r}")
        if default is not None and not _is_like(value, default):
            raise InputError(
                f"{place}: {key} must be {_KINDS[type(default)]}, such as {default!r}, "
                f"got {value!r}"
            )


def _is_like(value: object, default: object) -> bool:
    """Tell whether a value is of the kind of a default; bools are no numbers."""
    if isinstance(default, tuple):
        return isinstance(value, list | tuple) and all(_is_like(number, 0) for number in value)
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, float):
        return isinstance(value, int | float) and abs(value) < float("inf")
    return isinstance(value, type(default))


def check_complete(place: str, config: ml_collections.ConfigDict) -> None:
    """Check that a config has all keys and no others.

    Args:
      place: where it stands, for the message.
      config: to be checked.

    Raises:
      InputError: naming the first key that is too many or missing.
    """
    keys = _keys(config)
    try:
        check_keys(keys)
    except InputError as error:
        raise InputError(f"{place}: {error}") from error
    options = [f"{section}.options" for section in _WITH_OPTIONS]
    missing = [key for key in _known() if key not in keys]
    if missing := missing or [key for key in options if not _has(config, key)]:
        raise InputError(
            f"{place}: key {missing[0]!r} is missing; start from "
            "jaxflow.experiments.config.default_config()"
        )


def override(config: ml_collections.ConfigDict, arguments: Sequence[str]) -> None:
    """Set keys of a config.

    Another `data.name` than the config's takes away its `data.category` and `data.options`, which
    belong to the data set that it named.

    Args:
      config: changed in place.
      arguments: "--config.KEY=VALUE" each.

    Raises:
      InputError: if there is no such key, naming the nearest, or the value is of another type.
    """
    name = config.data.name
    for argument in sorted(arguments, key=lambda a: not a.startswith("--config.data.name=")):
        key = argument.removeprefix("--config.").partition("=")[0]
        check_keys([key])
        values = flags.FlagValues()
        try:
            # Only a data set's own options can be new, and it is the data set that knows them.
            config_flags.DEFINE_config_dict(
                "config",
                config,
                flag_values=values,
                sys_argv=["", argument],
                lock_config=False,
                accept_new_attributes=True,
            )
            values(["", argument])
        except (flags.Error, LookupError, TypeError, ValueError) as error:
            value = config_path.get_value(key, config)
            raise InputError(
                f"{argument}: expected a value of type {type(value).__name__}, such as {value!r}"
            ) from error
        if key == "data.name" and config.data.name != name:
            config.data.category, config.data.options = "", ml_collections.ConfigDict()


def check_keys(keys: Sequence[str]) -> None:
    """Check that keys exist; those below `options` belong to the part that is chosen.

    Raises:
      InputError: naming the first that does not exist, and the nearest that does.
    """
    known = _known()
    for key in keys:
        if key in known or key.startswith(_OPTIONS):
            continue
        raise InputError(f"no config key {key!r}; {suggest(key, known, '--help lists the keys')}")


def _known() -> list[str]:
    return [key for key, _, _ in KEYS]


def _has(config: ml_collections.ConfigDict, key: str) -> bool:
    section, name = key.split(".")
    return name in config[section]


def _keys(config: ml_collections.ConfigDict, place: str = "") -> list[str]:
    """List the dotted keys of all values."""
    keys = []
    for name, value in config.items():
        inner = isinstance(value, ml_collections.ConfigDict)
        keys += _keys(value, f"{place}{name}.") if inner else [f"{place}{name}"]
    return keys
