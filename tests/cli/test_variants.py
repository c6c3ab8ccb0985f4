"""`compare`: a row for each variant, the picture of likelihoods, and the table of all variants."""

import csv
from pathlib import Path

import pytest

import jaxflow
from jaxflow.errors import InputError
from jaxflow.experiments.cells import apply, cells_of
from jaxflow.experiments.checks import check_config
from jaxflow.experiments.config import default_config
from jaxflow.experiments.detector import make_detector, make_encoder, make_flow
from jaxflow.experiments.plans import plan_of, tables
from jaxflow.experiments.plugins import run_plugins
from jaxflow.reports.compared import Comparison, Finished, PublishedRow, PublishedTable
from jaxflow.reports.comparison import summarize, write_comparison
from jaxflow.reports.scatter import likelihood_figure
from jaxflow.reports.tables import ResultRow
from jaxflow.reports.variants import complexity, features_note, overview, points

ROOT = Path(jaxflow.__file__).parents[1]
COSTS = {"parameters": 4657408, "constants": 0, "train_seconds": 12.345, "score_ms": 250.4}


def cell(name, nats=None, seed=0, features="one map", reason="", auroc=0.75, **costs):
    metrics = {"image_auroc": auroc, "pixel_auroc": 0.9, "pixel_aupro": 0.5, **costs}
    if nats is not None:
        metrics["validation_nll"] = nats
    skipped = {"validation_nll": reason} if reason else {}
    rows = [
        ResultRow(selection, score, metrics | {"image_auroc": auroc - (score == "other")}, skipped)
        for selection in ("last", "best by validation likelihood")
        for score in ("nll", "other")
    ]
    return Finished(name, "woven", seed, rows, "nll", False, features)


def test_each_variant_has_one_row_of_its_deciding_score():
    cells = [cell("a", 1.0, 0, auroc=0.7), cell("a", 1.5, 1, auroc=0.8), cell("b", -0.5, **COSTS)]
    rows, notes = overview(summarize(cells), cells)
    assert [(row["variant"], row["score"]) for row in rows] == [("a", "nll"), ("b", "nll")]
    assert rows[0]["nats/dim"] == "1.250 ± 0.354"
    assert rows[0]["image AUROC"] == "0.750 ± 0.071"
    # A cell that was run before there were such figures leaves its place empty.
    assert rows[0]["parameters"] == rows[0]["ms/image"] == "–"
    assert (rows[1]["parameters"], rows[1]["constants"]) == ("4,657,408", "0")
    assert (rows[1]["training s"], rows[1]["ms/image"]) == ("12.3", "250")
    assert not any("no likelihood that compares" in note for note in notes)
    (costly,) = complexity(summarize(cells), cells)
    assert (costly["variant"], costly["memory MB"]) == ("b", "–")


def test_a_likelihood_that_does_not_compare_is_a_mark_with_its_reason():
    cells = [cell("a", 1.0), cell("bank", reason="no likelihood"), cell("old")]
    rows, notes = overview(summarize(cells), cells)
    assert [row["nats/dim"] for row in rows] == ["1.000", "*", "–"]
    assert "* no likelihood that compares: bank: no likelihood" in notes


def test_published_figures_stand_below_the_row_of_their_name():
    published = PublishedTable("A paper", {"a": PublishedRow({"image_auroc": 0.6}, 1, {})})
    rows, _ = overview(summarize([cell("a", 1.0)], published), [cell("a", 1.0)])
    assert [(row["score"], row["image AUROC"]) for row in rows] == [
        ("nll", "0.750"),
        ("published", "0.600"),
    ]


def test_only_likelihoods_of_the_same_features_are_drawn_together():
    cells = [cell("a", 1.0), cell("b", 2.0), cell("bank"), cell("c", 3.0, features="two maps")]
    groups = points(summarize(cells), cells)
    assert {name: [point.name for point in group] for name, group in groups.items()} == {
        "one map": ["a", "b"]
    }
    (note,) = features_note(cells)
    assert "one map: a, b, bank; two maps: c" in note
    assert points(summarize([cell("a", 1.0, features="")] * 2), [cell("a", 1.0, features="")]) == {}


def test_the_picture_has_a_point_of_its_own_look_for_each_variant():
    cells = [cell(f"variant {i}$", float(i), auroc=0.5 + i / 50) for i in range(14)]
    left, right = likelihood_figure(points(summarize(cells), cells)).axes
    assert [float(line.get_xdata()[0]) for line in left.lines] == [float(i) for i in range(14)]
    assert float(left.lines[13].get_ydata()[0]) == pytest.approx(0.76)
    assert all(line.get_ydata()[0] == 0.9 for line in right.lines)
    assert len({(line.get_color(), line.get_marker()) for line in left.lines}) == 14
    assert [text.get_text() for text in right.get_legend().get_texts()][3] == "variant 3$"
    with pytest.raises(InputError, match="no variants were given that compare"):
        likelihood_figure({})


def test_table_and_picture_are_written_and_a_picture_that_is_no_longer_true_is_removed(tmp_path):
    said = write_comparison(tmp_path, [cell("a", 1.0, **COSTS), cell("b", 2.0)], Comparison("t"))
    assert "4,657,408" in said
    with (tmp_path / "comparison.csv").open() as file:
        lines = {(line["variant"], line["score"]): line for line in csv.DictReader(file)}
    assert float(lines["a", "nll"]["train_seconds"]) == 12.345
    assert lines["b", "nll"]["train_seconds"] == ""
    text = (tmp_path / "comparison.md").read_text()
    assert "(comparison_likelihood.png)" in text
    assert "## Complexity" in text
    assert (tmp_path / "comparison_likelihood.png").read_bytes()[1:4] == b"PNG"
    write_comparison(tmp_path, [cell("a", 1.0)])
    assert not (tmp_path / "comparison_likelihood.png").exists()
    assert "![" not in (tmp_path / "comparison.md").read_text()


def variants(*rows):
    plan = plan_of(None, "variants", rows, config_dir=ROOT / "configs", settings=(), varied=())
    return {each.variant: each for each in cells_of(plan.variants, categories=plan.categories)}


@pytest.mark.parametrize("name", tables()["variants"].rows)
def test_every_variant_can_be_built_and_all_see_the_same_features(name):
    config = variants(name)[name].config
    check_config(config)
    config.encoder.weights = "random"
    detector = make_detector(config, make_encoder(config))
    assert (detector.encoder.stages, tuple(config.data.image_size)) == ((2,), (96, 96))
    distances = name in ("memory_bank", "one_class_svm", "spade")
    assert (detector.likelihood is None) == distances
    if not distances:
        assert detector.likelihood.instead == ""
        assert "nll" in detector.scores


@pytest.mark.usefixtures("registries_kept")
def test_parts_of_a_plugin_are_rows_of_the_table_of_variants():
    before = set(variants())
    run_plugins([str(ROOT / "examples/glow_flow.py"), str(ROOT / "examples/mean_detector.py")])
    added = {name: cell for name, cell in variants().items() if name not in before}
    assert added["my_glow"].config.model.flow == "my_glow"
    assert added["mean"].config.model.detector == "mean"
    assert len(added) == 2
    for each in added.values():
        check_config(each.config)


def test_options_of_a_coupling_can_be_set():
    config = default_config()
    apply(config, ["model.coupling=spline", "model.options.bins=4", "model.options.bound=2.5"])
    check_config(config)
    spline = make_flow(config.model).coupling
    assert (spline.bins, spline.bound) == (4, 2.5)
    config.model.coupling = "affine"
    with pytest.raises(InputError, match="model.options.bins: no such option of flow"):
        check_config(config)


def test_systems_that_are_not_here_are_named():
    plan = plan_of(None, "cflow-4", None, config_dir=ROOT / "configs", settings=(), varied=())
    assert plan.comparison.notes[0] == (
        "not run, for these systems are not here: DifferNet, DFR, SVDD, CutPaste"
    )
    sizes = {each.name: each.category_settings for each in plan.variants}
    assert sizes["SPADE"] == {}
    assert sizes["CFLOW-AD"]["transistor"] == ("data.image_size=(128,128)",)
