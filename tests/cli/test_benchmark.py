import dataclasses
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxflow import benchmark
from jaxflow.encoders import ENCODERS
from jaxflow.errors import InputError
from jaxflow.experiments.benchmarking import (
    COMPLEXITY,
    complexity_rows,
    count_operations,
    measure,
    split_columns,
)
from jaxflow.flows import FastFlow2D

CONFIG = """
from jaxflow.experiments.config import default_config

def get_config():
    config = default_config()
    config.data.image_size = (32, 48)
    config.encoder.stages = (1,)
    config.model.steps = 1
    config.training.batch_size = 2
    return config
"""


def run(*arguments):
    return benchmark.main(["benchmark", *arguments])


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "tiny.py"
    path.write_text(CONFIG)
    return f"--config={path}"


def mistake(capsys, *arguments):
    """Return the one line that a mistake gives."""
    assert run(*arguments) == 2
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    return printed.err


def test_config_mode_times_every_part_and_writes_what_it_prints(config, tmp_path, capsys):
    output = tmp_path / "new" / "speed.json"
    assert run(config, "--batch_sizes=1,3", "--repeats=2", f"--output={output}") == 0
    printed = capsys.readouterr().out
    written = json.loads(output.read_text(), parse_constant=pytest.fail)
    rows = written["rows"]
    assert [(row["what"], row["batch"]) for row in rows] == [
        ("encoder alone", 1),
        ("encoder alone", 3),
        ("training step on kept features", 2),
        ("training step on images", 2),
        ("scoring (probability)", 1),
        ("scoring (probability)", 3),
    ]
    for row in rows:
        assert 0 < row["min ms"] <= row["median ms"] <= row["max ms"]
        assert row["images/s"] == pytest.approx(1e3 * row["batch"] / row["median ms"])
        assert row["compile s"] > 0
        assert f"{row['images/s']:.3f}" in printed
    assert written["machine"]["jax"] == jax.__version__
    assert written["input_size"] == [32, 48]
    assert "encoder weights random" in printed
    assert written["encoder_weights"] == "random"
    assert any(key.startswith("peak_") and value > 0 for key, value in written.items())


def test_a_cflow_config_times_its_own_step_and_score(config, capsys):
    keys = {
        "model.flow": "cflow",
        "model.condition": "position",
        "training.vectors": "16",
        "training.loss": "log_sigmoid",
        "evaluation.score": "cflow",
    }
    overrides = [f"--config.{key}={value}" for key, value in keys.items()]
    assert run(config, *overrides, "--batch_sizes=2", "--repeats=1") == 0
    printed = capsys.readouterr().out
    assert "CFlowDecoder: steps 1" in printed
    assert "groups of 16 vectors" in printed
    assert "scoring (cflow)" in printed
    # The map of 8 x 12 positions has 192 vectors in a batch of 2.
    assert "193" in mistake(capsys, config, *overrides, "--config.training.vectors=193")


@pytest.fixture
def tiny_table(monkeypatch):
    """Make the table's ResNet-18 a single small flow that the paper measured at 32 x 32."""
    table = COMPLEXITY["fastflow-1"]
    setting = table.settings["resnet18"]
    tiny = dataclasses.replace(
        setting,
        stages=(1,),
        flow=FastFlow2D(steps=1),
        printed_at={32: setting.printed_at[256]},
    )
    monkeypatch.setitem(
        COMPLEXITY, "fastflow-1", dataclasses.replace(table, settings={"tiny": tiny})
    )
    monkeypatch.setitem(ENCODERS, "tiny", ENCODERS["resnet18"])


@pytest.mark.usefixtures("tiny_table")
def test_table_mode_puts_the_papers_figures_beside_ours(tmp_path, capsys):
    output = tmp_path / "table.json"
    arguments = ("--table=fastflow-1", "--batch_sizes=1,2", "--repeats=1", f"--output={output}")
    assert run(*arguments) == 0
    printed = capsys.readouterr().out
    rows = json.loads(output.read_text())["rows"]
    assert [(row["encoder"], row["input"], row["batch"]) for row in rows] == [
        ("tiny", 32, 1),
        ("tiny", 32, 2),
    ]
    for row in rows:
        assert row["paper images/s"] == 30.8
        assert row["paper additional ms"] == 27
        assert row["paper additional M"] == 4.9
        assert row["model MB"] > row["encoder MB"] + 4 * row["additional M"] > 0
        seconds = row["batch"] / row["images/s"] - row["batch"] / row["encoder images/s"]
        assert row["additional ms"] == pytest.approx(1e3 * seconds)
    assert "arXiv 2111.07677, Table 1" in printed
    assert "encoder weights random" in printed


@pytest.mark.usefixtures("tiny_table")
def test_the_papers_times_are_not_shown_beside_another_input_size():
    (row,) = complexity_rows("fastflow-1", sides=[48], batch_sizes=[1], repeats=1)
    assert row["input"] == 48
    assert row["paper images/s"] is None
    assert row["paper additional M"] == 4.9


def parameters(table, encoder):
    """Count a setting's trained parameters without making them, in millions."""
    setting = COMPLEXITY[table].settings[encoder]
    spec = ENCODERS[encoder]
    channels = spec.build(stages=setting.stages or spec.default_stages).channels
    maps = [jax.ShapeDtypeStruct((1, 4, 4, c), jnp.float32) for c in channels]
    shapes = jax.eval_shape(setting.pyramid(len(maps)).init, jax.random.key(0), maps)
    total = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes["params"]))
    return total / 1e6


@pytest.mark.parametrize(
    ("table", "encoder", "expected"),
    [
        ("fastflow-1", "cait_m48_448", 14.79),
        ("fastflow-1", "deit_base_distilled_patch16_384", 14.79),
        ("fastflow-1", "resnet18", 4.66),
        ("fastflow-1", "wide_resnet50_2", 41.34),
        ("cflow-6", "resnet18", 8.62),
        ("cflow-6", "wide_resnet50_2", 81.65),
    ],
)
def test_settings_have_the_papers_parameters(table, encoder, expected):
    assert parameters(table, encoder) == pytest.approx(expected, abs=0.005)


def test_tables_name_encoders_that_exist_at_sizes_that_they_take():
    for table in COMPLEXITY.values():
        for name, setting in table.settings.items():
            assert all(side % ENCODERS[name].size_multiple == 0 for side in setting.printed_at)


def test_split_columns_loses_none_and_repeats_no_encoder():
    rows = [
        {"encoder": "a", "input": side, "images/s": 1.0, "model MB": 2.0, "paper model MB": 3.0}
        for side in (256, 512)
    ]
    speeds, sizes = split_columns(rows)
    assert speeds == [{"encoder": "a", "input": s, "images/s": 1.0} for s in (256, 512)]
    assert sizes == [{"encoder": "a", "model MB": 2.0, "paper model MB": 3.0}]


@pytest.mark.parametrize(
    ("function", "shapes", "expected"),
    [
        (jnp.dot, [(2, 3), (3, 4)], 2 * 2 * 3 * 4),
        (lambda x: jax.lax.map(lambda row: x @ row, x), [(5, 3)], 5 * 2 * 5 * 3),
        (jax.jit(lambda x: jnp.sin(x) + x), [(5, 3)], 0),
        (
            lambda x, k: jax.lax.conv_general_dilated(
                x,
                k,
                (2, 2),
                "SAME",
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
                feature_group_count=2,
            ),
            [(1, 4, 6, 4), (3, 3, 2, 8)],
            2 * (2 * 3 * 8) * (3 * 3 * 2),
        ),
    ],
    ids=["product", "loop", "elementwise", "grouped convolution"],
)
def test_operations_are_those_of_products_and_convolutions(function, shapes, expected):
    arrays = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    assert count_operations(function, *arrays) == expected


def test_measure_counts_the_timed_calls_alone_and_advances_between_all():
    seen = []

    def advance(arguments, result):
        seen.append(float(result))
        return (result,)

    timing = measure(jax.jit(lambda x: x + 1), (np.float32(0),), repeats=3, advance=advance)
    assert len(timing.seconds) == 3
    assert seen == [1, 2, 3, 4, 5]


def test_unknown_table_is_one_line_that_lists_those_that_exist(capsys):
    line = mistake(capsys, "--table=fastflow-9")
    assert "'fastflow-9'" in line
    assert "fastflow-1, cflow-6" in line


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--table=cflow-6", "--encoders=resnet18,vgg"], "'vgg'"),
        (
            ["--table=cflow-6", "--batch_sizes=1,0"],
            "--batch_sizes: expected whole numbers from 1 to 65536, got '0'",
        ),
        (
            ["--table=cflow-6", "--batch_sizes=many"],
            "--batch_sizes: expected whole numbers from 1 to 65536, got 'many'",
        ),
        (["--table=cflow-6", "--repeats=0"], "repeats"),
        (["--table=fastflow-1", "--image_sizes=100"], "multiples of 16"),
        (["--table=cflow-6", "--image_sizes=16"], "at least 32"),
        ([], "--config or --table"),
    ],
)
def test_mistakes_are_one_line(capsys, arguments, expected):
    assert expected in mistake(capsys, *arguments)


def test_flags_of_a_table_are_refused_with_a_config(config, capsys):
    assert "--encoders goes with --table" in mistake(capsys, config, "--encoders=resnet18")
    assert "either --config or --table" in mistake(capsys, config, "--table=cflow-6")


def test_output_that_is_a_folder_is_refused_before_measuring(config, tmp_path, capsys):
    assert "is a folder" in mistake(capsys, config, f"--output={tmp_path}")
    (tmp_path / "file").write_text("")
    assert "can be made" in mistake(capsys, config, f"--output={tmp_path / 'file' / 'x.json'}")


def test_a_batch_that_the_devices_cannot_share_is_refused(config, capsys, monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 4)
    assert "--batch_sizes 6: 4 devices" in mistake(capsys, config, "--batch_sizes=6")


def test_rows_are_checked_before_anything_is_measured():
    with pytest.raises(InputError, match="no table"):
        complexity_rows("cflow-7")


def test_weights_of_a_file_are_used(config, tmp_path, capsys):
    line = mistake(capsys, config, f"--config.encoder.weights={tmp_path / 'none.safetensors'}")
    assert "none.safetensors" in line
