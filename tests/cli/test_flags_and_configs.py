"""What the command line says to a wrong flag, key, value or config file, and its help."""

from pathlib import Path

import pytest

import jaxflow
from jaxflow.experiments.checks import check_config
from jaxflow.experiments.choices import CHOICES
from jaxflow.experiments.command_line import warn
from jaxflow.experiments.config import KEYS, load_config, override

CONFIGS = sorted((Path(jaxflow.__file__).parents[1] / "configs").glob("*.py"))


@pytest.mark.parametrize(
    ("argument", "parts"),
    [
        ("--config.training.epoch=3", ["'training.epoch'", "did you mean training.epochs?"]),
        ("--config.trainig.epochs=3", ["'trainig.epochs'", "did you mean training.epochs?"]),
        ("--config.quux=3", ["'quux'", "--help lists the keys"]),
        ("--config.data=3", ["'data'"]),
        ("--config.data.options=3", ["'data.options'"]),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest(train_mistake, argument, parts):
    line = train_mistake(argument)
    assert line.startswith("jaxflow: no config key ")
    assert all(part in line for part in parts)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("training.epochs=abc", "int, such as 2"),
        ("training.epochs=2.5", "int, such as 2"),
        ("training.epochs", "int, such as 2"),
        ("training.learning_rate=fast", "float, such as 0.001"),
        ("training.keep_all=perhaps", "bool, such as False"),
        ("data.options.size=big", "int, such as 32"),
    ],
)
def test_a_value_of_the_wrong_type_names_the_type(train_mistake, value, kind):
    assert (
        train_mistake(f"--config.{value}")
        == f"jaxflow: --config.{value}: expected a value of type {kind}\n"
    )


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ("model.coupling=afine", ["config.model.coupling", "additive, affine", "'afine'"]),
        ("model.normalization=batch", ["config.model.normalization", "layer_norm", "'batch'"]),
        ("model.flow=realnvp", ["config.model.flow", "cflow, cs_flow", "'realnvp'"]),
        ("model.condition=color", ["config.model.condition", "none, position", "'color'"]),
        ("training.loss=l2", ["config.training.loss", "log_sigmoid, nll", "'l2'"]),
        ("training.schedule=step", ["config.training.schedule", "cosine_warmup", "'step'"]),
        ("training.schedule=cosine_warmup", ["warmup_epochs 2", "fewer", "training.epochs, 2"]),
        ("training.vectors=-1", ["config.training.vectors", "negative", "-1"]),
        ("training.vectors=256", ["config.training.vectors 256", "fastflow", "to 0"]),
        ("training.optimizer=sgd", ["config.training.optimizer", "adam_l2", "'sgd'"]),
        ("evaluation.score=best", ["config.evaluation.score", "nll, probability", "'best'"]),
        ("data.augmentation=all", ["config.data.augmentation", "fastflow", "'all'"]),
        ("data.name=texture", ["config.data.name", "folder", "textures", "'texture'"]),
        ("data.category=wove", ["category 'wove'", "woven, brushed, speckled, striped"]),
        ("data.options.x=3", ["option 'x'", "n_train", "size"]),
        ("data.validation_fraction=2", ["validation_fraction", "[0, 1)", "2.0"]),
        ("encoder.name=resnet19", ["'resnet19'", "resnet18", "wide_resnet50_2"]),
        ("encoder.stages=(9,)", ["[9]", "1 to 4"]),
        ("encoder.tag=zz", ["'zz'", "tv_in1k"]),
        ("training.batch_size=0", ["config.training.batch_size", "positive", "0"]),
        ("training.batch_size=64", ["config.training.batch_size 64", "only 11", "smaller batch"]),
        ("training.learning_rate=nan", ["config.training.learning_rate", "positive", "nan"]),
        ("training.weight_decay=-1", ["config.training.weight_decay", "negative", "-1"]),
        ("seed=-1", ["config.seed", "negative", "-1"]),
        ("model.kernel_sizes=(2,)", ["config.model.kernel_sizes", "odd", "(2,)"]),
        ("model.kernel_sizes=()", ["config.model.kernel_sizes", "at least one", "()"]),
        ("model.dtype=float64", ["config.model.dtype float64", "JAX_ENABLE_X64"]),
        ("model.steps=0", ["config.model.steps", "positive", "0"]),
        ("data.image_size=(8,)", ["config.data.image_size", "(height, width)", "(8,)"]),
        ("data.image_size=(8,x)", ["config.data.image_size", "(height, width)", "(8,x)"]),
        ("data.image_size=(0,8)", ["config.data.image_size", "(height, width)", "(0, 8)"]),
        ("data.image_size=(2,2)", ["input size 2 x 2", "resnet18", "at least 4 x 4"]),
        ("evaluation.image_quantile=1", ["config.evaluation.image_quantile", "(0, 1)", "1.0"]),
    ],
)
def test_a_value_that_cannot_be_taken_is_named_with_what_can(train_mistake, value, parts):
    line = train_mistake(f"--config.{value}")
    assert all(part in line for part in parts), line


def test_a_group_larger_than_a_feature_map_of_a_batch_is_refused(train_mistake):
    line = train_mistake("--config.model.flow=cflow", "--config.training.vectors=257")
    assert line == (
        "jaxflow: config.training.vectors 257: the feature map of 8 x 8 has only 256 vectors in a "
        "batch of 4 images; use 256 or fewer, a larger batch or larger images\n"
    )


def test_groups_and_a_normalization_with_parameters_of_whole_maps_are_refused(train_mistake):
    line = train_mistake(
        "--config.model.flow=cflow",
        "--config.training.vectors=8",
        "--config.model.normalization=layer_norm_affine",
    )
    assert "layer_norm_affine has parameters for whole maps" in line


def test_an_input_too_small_for_the_coarsest_map_is_refused(train_mistake):
    line = train_mistake("--config.encoder.stages=(1,2,3)", "--config.data.image_size=(8,8)")
    assert "input size 8 x 8: too small for resnet18" in line
    assert "at least 16 x 16" in line


def test_flags_that_are_needed_are_named(mistake, config_file, tmp_path):
    assert "--workdir is missing" in mistake("train", f"--config={config_file}")
    assert "--config is missing" in mistake("train", f"--workdir={tmp_path / 'run'}")
    assert "--workdir is missing" in mistake("evaluate")
    assert "--input is missing" in mistake("predict", f"--workdir={tmp_path}")
    assert "no --config=FILE" in mistake("train", "--config.seed=1", f"--workdir={tmp_path}")


def test_an_unknown_flag_is_answered_with_the_nearest(mistake, train_mistake):
    assert "Did you mean: workdir" in train_mistake("--workdirr=x")
    assert "Did you mean: oracle" in mistake("evaluate", "--oracel")
    assert "'stray'" in train_mistake("stray")


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (None, ["no such file"]),
        ("def get_config(:\n", ["SyntaxError"]),
        ("x = 1\n", ["a function get_config()", "got None"]),
        ("def get_config():\n    return 3\n", ["returns a ConfigDict, got 3"]),
        ("import nothing_of_that_name\n", ["line 1", "nothing_of_that_name"]),
        ("def get_config():\n\n    return 1 / 0\n", ["line 3", "ZeroDivisionError"]),
        (
            "from jaxflow.experiments.config import default_config\ndef get_config():\n"
            "    config = default_config()\n    config.data.nmae = 'folder'\n    return config\n",
            ["'data.nmae'", "did you mean data.name?"],
        ),
        (
            "from ml_collections import ConfigDict\ndef get_config():\n"
            "    return ConfigDict({'seed': 1})\n",
            ["'data.name' is missing", "default_config()"],
        ),
    ],
)
def test_a_config_file_that_gives_no_config_is_named(train_mistake, tmp_path, content, parts):
    path = tmp_path / "mine.py"
    if content is not None:
        path.write_text(content)
    line = train_mistake(config=path)
    assert line.startswith(f"jaxflow: --config {path}")
    assert all(part in line for part in parts), line


def test_another_data_set_leaves_the_configs_category_and_options_behind(config_file):
    config = load_config(str(config_file))
    config.data.category = "woven"
    override(config, ["--config.data.options.n_train=7", "--config.data.name=textures"])
    assert (config.data.category, config.data.options.n_train) == ("woven", 7)
    override(config, ["--config.data.options.setting=one", "--config.data.name=cifar10"])
    assert (config.data.category, config.data.options.to_dict()) == ("", {"setting": "one"})


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_loads_and_says_how_it_is_run(path):
    check_config(load_config(str(path)))
    assert (
        f"python -m jaxflow.train --config=configs/{path.name}" in path.read_text().split('"""')[1]
    )


def test_the_quickstart_alone_may_go_on_with_random_weights():
    allowing = [p.stem for p in CONFIGS if load_config(str(p)).encoder.random_if_unreachable]
    assert allowing == ["quickstart"]


@pytest.mark.parametrize(
    ("verb", "flags"),
    [
        ("train", ["config", "workdir"]),
        ("evaluate", ["workdir", "[no]oracle", "pictures", "test_set", "data_dir", "weights"]),
        ("predict", ["workdir", "input", "output", "selection", "[no]pictures", "weights"]),
    ],
)
def test_help_tells_purpose_example_and_every_flag(command, verb, flags):
    outcome = command(verb, "--help")
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[0].endswith(".")
    assert f"    python -m jaxflow.{verb} --" in outcome.out
    assert max(map(len, lines)) <= 110
    for flag in flags:
        (at,) = [i for i, line in enumerate(lines) if line.split()[:1] == [f"--{flag}"]]
        assert len(lines[at + 1].split()) > 1, lines[at + 1]


def test_help_of_training_explains_every_key(command):
    out = " ".join(command("train", "--help").out.split())
    for key, default, meaning in KEYS:
        assert f" {key} [{default}] {meaning}" in out


@pytest.mark.parametrize("key", [key for key in CHOICES if isinstance(CHOICES[key], dict)])
def test_help_lists_what_can_be_chosen_now(command, monkeypatch, key):
    monkeypatch.setitem(CHOICES[key], "mine", next(iter(CHOICES[key].values())))
    meaning = next(meaning for name, _, meaning in KEYS if name == key)
    out = " ".join(command("train", "--help").out.split())
    assert f"{meaning}: {', '.join(CHOICES[key])}" in out
    assert "mine" in CHOICES[key]


def test_a_message_of_several_lines_is_told_in_one(capsys):
    warn("first\n  second")
    assert capsys.readouterr().err == "jaxflow: WARNING: first second\n"
