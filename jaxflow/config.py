"""Every key of a run's configuration: its default and what it means, once."""

import ml_collections

# key, default, meaning. An empty string or tuple stands for "the default of what is named".
KEYS: tuple[tuple[str, object, str], ...] = (
    ("seed", 0, "of the parameters, the order of the data and the held-out images"),
    ("data.name", "textures", "data set: textures, folder, mvtec_ad, magnetic_tile, ..."),
    ("data.category", "", "category of the data set; an unknown one lists those that exist"),
    ("data.data_dir", "", "folder of the images as downloaded"),
    ("data.cache_dir", "", "where prepared data are kept (default: ~/tensorflow_datasets)"),
    ("data.image_size", (256, 256), "height and width of the encoder's input, pixels"),
    ("data.validation_fraction", 0.1, "part of the normal training images held out"),
    ("data.augmentation", "none", "of training images: none, fastflow or cflow"),
    ("encoder.name", "resnet18", "frozen encoder"),
    ("encoder.stages", (), "feature maps read: stages of a CNN, blocks of a transformer"),
    ("encoder.weights", "hub", "hub, the path of a .safetensors file, or random"),
    ("encoder.tag", "", "training recipe of the weights, such as tv_in1k"),
    ("encoder.revision", "", "of the hub's repository"),
    ("encoder.random_if_unreachable", False, "go on with random weights where the hub is not"),
    ("model.steps", 8, "coupling steps of each flow"),
    ("model.kernel_sizes", (3, 1), "of the convolutions, repeated over the steps"),
    ("model.hidden_ratio", 1.0, "hidden width over the channels that condition"),
    ("model.clamp", 2.0, "bound of a coupling's log-scale"),
    ("model.coupling", "affine", "affine or additive"),
    ("model.log_scale", "tanh", "tanh or unit_slope_tanh"),
    ("model.permutation", "hard", "hard or soft"),
    ("model.normalization", "layer_norm", "none, layer_norm, layer_norm_affine or standardize"),
    ("model.dtype", "float32", "compute dtype of the convolutions: float32, bfloat16, float64"),
    ("training.epochs", 500, "passes over the training images"),
    ("training.batch_size", 32, "images of a step, over all devices"),
    ("training.optimizer", "adam_l2", "adam_l2 or adamw"),
    ("training.learning_rate", 1e-3, "of the optimizer"),
    ("training.weight_decay", 1e-5, "of the optimizer"),
    ("training.validate_every", 1, "epochs between validations and checkpoints"),
    ("training.keep_all", False, "keep all checkpoints, which the oracle best on test needs"),
    ("training.feature_memory_gib", 8.0, "kept features above this size go to a file"),
    ("evaluation.score", "probability", "score that decisions and pictures use: probability, nll"),
    ("evaluation.batch_size", 32, "images scored at once, over this host's devices"),
    ("evaluation.image_quantile", 0.95, "of normal validation scores: the image threshold"),
    ("evaluation.pixel_quantile", 0.995, "of normal validation pixels: the pixel threshold"),
)


def default_config() -> ml_collections.ConfigDict:
    """Return the defaults as a ConfigDict; `data.options` takes a data set's own options."""
    config = ml_collections.ConfigDict({"data": {"options": {}}})
    for key, default, _ in KEYS:
        *sections, name = key.split(".")
        place = config
        for section in sections:
            if section not in place:
                place[section] = ml_collections.ConfigDict()
            place = place[section]
        place[name] = default
    return config


def describe_keys() -> str:
    """Return one line a key: name, default, meaning."""
    width = max(len(key) for key, _, _ in KEYS)
    return "\n".join(f"  {key:<{width}}  {meaning} [{default}]" for key, default, meaning in KEYS)
