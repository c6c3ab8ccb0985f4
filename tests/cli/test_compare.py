"""`compare`: cells, published figures beside ours, going on after a failure, and its mistakes."""

import csv
import io
import json
from contextlib import redirect_stderr, redirect_stdout

import jax
import jax.numpy as jnp
import pytest

from jaxflow import compare
from jaxflow.errors import InputError
from jaxflow.experiments import cell_runs
from jaxflow.experiments.cells import Variant, cells_of, changed_keys
from jaxflow.experiments.config import default_config, load_config
from jaxflow.experiments.papers.figures import FIGURES
from jaxflow.experiments.papers.runs import TABLES, PaperTable, Row
from jaxflow.experiments.plans import told
from jaxflow.files import locked
from jaxflow.reports.compared import Finished, PublishedRow, PublishedTable
from jaxflow.reports.tables import ResultRow


def run(*arguments):
    """Run the command; return exit code, stdout and stderr."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = compare.main(["compare", *map(str, arguments)])
    return code, out.getvalue(), err.getvalue()


@pytest.fixture
def tiny_table(monkeypatch, config_file):
    """Put a table over two textures beside those of the papers; give the folder of its config."""
    rows = {"small": Row("tiny"), "broken": Row("tiny", ("encoder.weights=/none.safetensors",))}
    settings = (
        "training.epochs=1",
        "data.options.n_train=8",
        "model.normalization=layer_norm",
        "model.coupling=affine",
    )
    category_settings = {"brushed": ("data.image_size=(48,48)",)}
    table = PaperTable(
        "a tiny table", "textures", ("woven", "brushed"), rows, settings, category_settings
    )
    by_category = {
        "woven": {"image_auroc": 0.9, "pixel_auroc": 0.8},
        "brushed": {"image_auroc": 0.7},
        "striped": {"image_auroc": 0.2},
    }
    small = PublishedRow({"image_auroc": 0.6}, 3, by_category)
    other = PublishedRow({"pixel_auroc": 0.55}, 3, {})
    broken = PublishedRow({"image_auroc": 0.5}, 3, {})
    published = {"small": small, "broken": broken, "Other": other}
    monkeypatch.setitem(TABLES, "tiny-1", table)
    monkeypatch.setitem(FIGURES, "tiny-1", PublishedTable("A paper, Table 1", published))
    return config_file.parent


@pytest.fixture
def finished(tiny_table, tmp_path):
    """Run the tiny table; give its arguments and what it left."""
    arguments = ["--table=tiny-1", f"--config_dir={tiny_table}", f"--workdir={tmp_path / 'work'}"]
    arguments += ["--set=model.clamp=1.5", f"--set=data.cache_dir={tiny_table / 'cache'}"]
    return arguments, run(*arguments), tmp_path / "work"


def test_a_table_stands_beside_the_published_figures_and_outlives_failed_cells(finished):
    arguments, (code, out, err), work = finished
    assert code == 1
    assert err.count("cell broken/") == 2
    assert "none.safetensors" in err
    assert "published: A paper, Table 1; not measured here" in out
    written = json.loads((work / "comparison.json").read_text(), parse_constant=pytest.fail)
    assert written["notes"][:3] == [
        "not run, for these systems are not here: Other",
        "set for all: model.clamp=1.5",
        "the encoder's weights are RANDOM, the figures say nothing: small",
    ]
    assert set(written["failed"]) == {"broken/woven/seed0", "broken/brushed/seed0"}
    assert written["published_source"] == "A paper, Table 1"
    theirs = [row for row in written["summary"] if row["selection"] == "published"]
    # Of two of three categories the mean over these; a metric that one of them lacks is left out.
    assert [
        (r["variant"], r["categories"], r["image_auroc"], r["pixel_auroc"]) for r in theirs
    ] == [
        ("small", 2, pytest.approx(0.8), None),
        ("broken", 3, 0.5, None),
        ("Other", 3, None, 0.55),
    ]
    assert all(row["source"] == "A paper, Table 1" for row in theirs)
    ours = [row for row in written["summary"] if row["selection"] != "published"]
    assert {(row["variant"], row["categories"], row["source"]) for row in ours} == {
        ("small", 2, None)
    }
    with (work / "comparison_categories.csv").open() as file:
        lines = {line["category"]: line for line in csv.DictReader(file)}
    assert lines["woven"]["pixel_auroc_published"] == "0.8"
    assert lines["brushed"]["pixel_auroc_published"] == ""
    cell = next(c for c in written["cells"] if c["category"] == "woven")
    assert 0 <= cell["image_auroc"] <= 1
    assert 0 < cell["train_seconds"] < 60
    assert 0 < cell["score_ms"]
    assert 0 < cell["detector_gflop"]
    assert cell["parameters"] == 32 * 9 * (32 + 64) + 32 + 64 + 2 * 64
    assert (
        ours[0]["no_validation_nll"]
        == "the likelihood is of maps after layer_norm, not of the encoder's own features"
    )
    assert ours[0]["validation_nll"] is None
    text = (work / "comparison.md").read_text()
    assert "# a tiny table (tiny-1)" in text
    assert "- failed: broken/woven/seed0" in text

    # Finished cells are read, not run again, and another setting is not taken for the same cell.
    before = (work / "cells/small/woven/seed0/cell.json").stat().st_mtime_ns
    assert run(*arguments, "--rows=small")[0] == 0
    assert (work / "cells/small/woven/seed0/cell.json").stat().st_mtime_ns == before
    code, _, err = run(*arguments, "--rows=small", "--set=training.learning_rate=0.1")
    assert code == 2
    assert "was run with another training.learning_rate; use another --workdir" in err
    (work / "cells/small/woven/seed0/cell.json").write_text('{"rows": [')
    code, _, err = run(*arguments, "--rows=small")
    assert code == 1
    assert "cell small/woven/seed0 failed: " in err
    assert "woven/seed0/cell.json is damaged: it is no JSON" in err
    assert "delete it" in err
    size = json.loads((work / "cells/small/brushed/seed0/run.json").read_text())["config"]["data"]
    assert size["image_size"] == [48, 48]


def test_published_figures_are_left_out_beside_other_data(
    tiny_table, image_folder, tmp_path, monkeypatch
):
    seen = {}

    def no_run(cells, folder, oracle):
        seen["cells"] = cells
        return [], {cell.name: "not run" for cell in cells}

    monkeypatch.setattr(compare, "run_all", no_run)
    arguments = [f"--config_dir={tiny_table}", f"--workdir={tmp_path / 'work'}", "--rows=small"]
    code, _, err = run("--table=tiny-1", *arguments, "--set=data.name=folder")
    assert (code, err.count("\n")) == (2, 1)
    (cell,) = seen["cells"]
    assert cell.config.data.name == "folder"
    assert cell.config.data.options.to_dict() == {}


def test_settings_are_told_without_folders():
    settings = ["data.data_dir=/a/b", "encoder.weights=/a/w.safetensors", "seed=1"]
    assert told(settings) == ["set for all: encoder.weights=w.safetensors, seed=1"]
    assert told(settings[:1]) == []


def test_cells_share_what_is_compiled(monkeypatch, config_file, tmp_path):
    hits = []

    def listen(event, **more):
        hits.extend([event] if event == "/jax/compilation_cache/cache_hits" else [])

    def no_run(cell, folder, oracle):
        assert float(jax.jit(lambda x: x + 1)(jnp.float32(cell.seed))) == cell.seed + 1
        rows = [ResultRow("last", "nll", {"image_auroc": 0.5})]
        return Finished(cell.variant, cell.category, cell.seed, rows, "nll")

    monkeypatch.setattr(cell_runs, "_run", no_run)
    monkeypatch.setattr(cell_runs, "_WORTH_KEEPING_S", 0.0)
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    jax.monitoring.register_event_listener(listen)
    try:
        assert run(f"--configs={config_file}", f"--workdir={tmp_path}", "--seeds=0,1,2")[0] == 0
        assert len(hits) >= 2
        hits.clear()
        jax.jit(lambda x: x + 1)(jnp.float32(0))
        assert not hits
        assert jax.config.jax_compilation_cache_dir is None
    finally:
        jax.monitoring.unregister_event_listener(listen)
        jax.config.update("jax_compilation_cache_dir", before)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--table=fastflow-9"], ["no such table", "fastflow-2", "cflow-5"]),
        (["--table=fastflow-5", "--rows=VGG"], ["no row 'VGG'", "ResNet18 3-3"]),
        (["--table=fastflow-5", "--configs=a.py"], ["either --configs or --table"]),
        (["--configs=a.py", "--rows=x"], ["--rows picks rows of a --table"]),
        (["--table=fastflow-5", "--config_dir=/none"], ["/none/fastflow_deit.py: no such file"]),
        ([], ["--configs or --table is missing"]),
    ],
)
def test_a_mistake_is_one_line(tmp_path, arguments, parts):
    code, out, err = run(f"--workdir={tmp_path / 'work'}", *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert all(part in err for part in parts), err
    assert not (tmp_path / "work").exists()


def test_categories_settings_give_way_to_the_users():
    variant = Variant("v", default_config(), {"woven": ("data.image_size=(64,64)",)})
    cells = cells_of([variant], categories=["woven", "brushed"], seeds=[0, 1])
    assert [tuple(c.config.data.image_size) for c in cells] == [(64, 64)] * 2 + [(256, 256)] * 2
    (cell,) = cells_of([variant], settings=["data.image_size=(32,32)"], categories=["woven"])
    assert tuple(cell.config.data.image_size) == (32, 32)


def test_cells_that_would_share_a_folder_are_refused(config_file):
    variants = [Variant("a b", load_config(str(config_file)))] * 2
    with pytest.raises(InputError, match="share the folder"):
        cells_of(variants)


def test_a_finished_cell_may_move_but_not_change():
    config = default_config()
    stored = json.loads(config.to_json())
    stored["data"]["data_dir"] = "elsewhere"
    stored["encoder"]["weights"] = "elsewhere.safetensors"
    del stored["model"]["dtype"]  # A key that did not exist when the cell was run.
    assert changed_keys(config, stored) == []
    stored["training"]["epochs"] = 3
    stored["data"]["image_size"] = [1, 2]
    assert changed_keys(config, stored) == ["data.image_size", "training.epochs"]


def test_a_cell_of_random_weights_does_not_pass_for_one_of_trained_weights():
    config = default_config()
    stored = json.loads(config.to_json())
    stored["encoder"]["weights"] = "random"
    assert changed_keys(config, stored) == ["encoder.weights"]
    config.encoder.random_if_unreachable = stored["encoder"]["random_if_unreachable"] = True
    assert changed_keys(config, stored) == []


def test_a_finished_cell_of_other_data_or_weights_is_not_read(
    config_file, image_folder, image, weights_file, tmp_path
):
    images = image_folder(tmp_path / "images")
    weights = weights_file(tmp_path / "w.safetensors")
    arguments = [f"--configs={config_file}", f"--workdir={tmp_path / 'work'}"]
    arguments += ["--set=data.name=folder", f"--set=data.data_dir={images}"]
    arguments += [f"--set=encoder.weights={weights}", "--set=training.epochs=1"]
    assert run(*arguments)[0] == 0
    assert run(*arguments)[0] == 0
    original = weights.read_bytes()
    weights_file(weights, **{"fc.bias": jnp.zeros(3).__array__()})
    code, _, err = run(*arguments)
    assert code == 2
    assert "was trained with other encoder weights" in err
    weights.write_bytes(original)
    image(images / "test/broken/0.png", seed=99)
    code, _, err = run(*arguments)
    assert code == 2
    assert "was trained with other data" in err


def test_a_cell_whose_config_is_wrong_is_refused_before_anything_runs(config_file, tmp_path):
    arguments = [f"--configs={config_file}", f"--workdir={tmp_path / 'work'}"]
    code, out, err = run(*arguments, "--vary=training.epochs=1,-1")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "config.training.epochs" in err
    assert not (tmp_path / "work").exists()


def test_two_comparisons_do_not_share_a_workdir(config_file, tmp_path):
    (tmp_path / "work").mkdir()
    with locked(tmp_path / "work", "a test"):
        code, out, err = run(f"--configs={config_file}", f"--workdir={tmp_path / 'work'}")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "is in use by another comparison" in err


def test_what_a_killed_comparison_left_is_removed(monkeypatch, config_file, tmp_path):
    (tmp_path / ".compiled.abc").mkdir()
    (tmp_path / ".jaxflow.abc.part").touch()
    monkeypatch.setattr(compare, "run_all", lambda *_: ([], {"a": "b"}))
    run(f"--configs={config_file}", f"--workdir={tmp_path}")
    assert list(tmp_path.iterdir()) == []
