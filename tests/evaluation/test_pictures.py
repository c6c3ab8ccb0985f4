"""Pictures: fixed scales, the right pixels changed, the right words, the right sizes."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from jaxflow.errors import InputError
from jaxflow.evaluation.calibration import Scale, heatmap_scale
from jaxflow.evaluation.metrics import roc_points
from jaxflow.reports import heatmaps, pictures
from jaxflow.reports.curves import histogram_figure, roc_figure

SCALE = Scale(low=0.0, high=2.0, pixel_threshold=1.0, image_threshold=1.5)


def example(height=40, width=60, score=1.8, **changes):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    mask = np.zeros((height, width), bool)
    mask[10:20, 30:45] = True
    anomaly_map = np.where(mask, 1.8, 0.0).astype(np.float32)
    made = pictures.ScoredImage("good/$1_ 件.png", image, anomaly_map, score, mask, 1, "scratch")
    return dataclasses.replace(made, **changes)


def words(figure):
    return [text.get_text() for text in figure.texts]


def test_normalise_maps_the_ends_and_cuts_what_lies_outside():
    found = heatmaps.normalise(np.array([-5.0, 0.0, 1.0, 2.0, 9.0]), 0.0, 2.0)
    np.testing.assert_array_equal(found, [0, 0, 0.5, 1, 1])
    assert found.dtype == np.float32


def test_scale_puts_the_threshold_in_the_middle():
    maps = np.random.default_rng(0).normal(size=(4, 20, 20)).astype(np.float32)
    low, high = heatmap_scale(maps, threshold=3.0)
    assert low == pytest.approx(np.median(maps), abs=1e-6)
    assert (low + high) / 2 == pytest.approx(3.0)
    low, high = heatmap_scale(maps)
    assert (low + high) / 2 == pytest.approx(np.quantile(maps, 0.999), rel=1e-5)


@pytest.mark.parametrize("value", [-1.0, 0.0, 1e6])
def test_scale_of_constant_maps_can_be_drawn(value):
    low, high = heatmap_scale(np.full((2, 3, 3), value))
    assert low < high


def test_overlay_changes_where_the_map_is_high_and_grays_elsewhere():
    shown = example()
    overlay = heatmaps.heatmap_overlay(shown.image, shown.anomaly_map, 0.0, 2.0).astype(int)
    gray = np.rint(shown.image.mean(axis=-1))[..., None]
    assert overlay.shape == shown.image.shape
    assert np.all(overlay[~shown.mask] == gray[~shown.mask])
    assert np.abs(overlay - gray)[shown.mask].mean() > 40


def test_overlay_of_one_image_does_not_depend_on_its_own_maximum():
    shown = example()
    hotter = shown.anomaly_map.copy()
    hotter[0, 0] = 100.0
    one = heatmaps.heatmap_overlay(shown.image, shown.anomaly_map, 0.0, 2.0)
    other = heatmaps.heatmap_overlay(shown.image, hotter, 0.0, 2.0)
    changed = np.any(one != other, axis=-1)
    assert changed.sum() == 1
    assert changed[0, 0]


def test_mask_overlay_changes_the_mask_and_its_line_alone():
    shown = example()
    tinted = heatmaps.mask_overlay(shown.image, shown.mask, (0, 255, 0))
    inside = 0.65 * shown.image[shown.mask] + 0.35 * np.array([0, 255, 0])
    np.testing.assert_allclose(tinted[shown.mask], inside, atol=0.51)
    np.testing.assert_allclose(tinted[9, 29:46, 1], 0.05 * shown.image[9, 29:46, 1] + 242, atol=1)
    around = np.ones_like(shown.mask)
    around[9:21, 29:46] = False
    np.testing.assert_array_equal(tinted[around], shown.image[around])
    np.testing.assert_array_equal(
        heatmaps.mask_overlay(shown.image, np.zeros_like(shown.mask), (0, 255, 0)), shown.image
    )


@pytest.mark.parametrize(("height", "width"), [(32, 32), (32, 90), (90, 32)])
def test_panel_has_its_size_and_no_tile_is_cut_off(tmp_path, height, width):
    figure = pictures.panel(example(height=height, width=width), SCALE)
    boxes = [axes.get_position() for axes in figure.axes]
    assert len(boxes) == 5
    assert all(0 <= box.x0 < box.x1 <= 1 and 0 <= box.y0 < box.y1 <= 1 for box in boxes)
    lefts = sorted((box.x0, box.x1) for box in boxes)
    assert all(one[1] <= two[0] for one, two in zip(lefts[:-1], lefts[1:], strict=True))
    path = pictures.save_figure(tmp_path / "new" / "panel.png", figure)
    with Image.open(path) as written:
        expected = np.array(figure.get_size_inches()) * pictures.DPI
        np.testing.assert_allclose(written.size, expected, atol=1)
        assert np.asarray(written.convert("RGB")).std() > 20


def test_panel_names_score_threshold_and_decision():
    text = " ".join(words(pictures.panel(example(), SCALE)))
    assert "anomalous: score 1.8 ≥ image threshold 1.5" in text
    assert "correct" in text
    text = " ".join(words(pictures.panel(example(score=1.2), SCALE)))
    assert "normal: score 1.2 < image threshold 1.5" in text
    assert "missed" in text


@pytest.mark.parametrize(
    ("score", "label", "verdict"),
    [
        (1.5, 1, "correct"),
        (1.5, 0, "false alarm"),
        (1.4, 1, "missed"),
        (1.4, 0, "correct"),
        (1.4, None, ""),
    ],
)
def test_verdict_compares_the_decision_with_the_label(score, label, verdict):
    assert example(score=score, label=label).verdict(SCALE) == verdict


def test_file_names_are_drawn_as_they_are_without_mathematics_or_warnings(tmp_path):
    figure = pictures.panel(example(name="$a_{b$ 件"), SCALE)
    pictures.save_figure(tmp_path / "a.png", figure)
    assert "$a_{b$ ?" in words(figure)


def test_panel_without_mask_leaves_out_the_ground_truth():
    figure = pictures.panel(example(mask=None, label=None, defect=""), SCALE)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles[:3] == ["input", "heat map", "predicted mask"]
    assert not {"correct", "missed", "false alarm"} & set(words(figure))


def test_predicted_mask_holds_the_pixels_at_or_above_the_threshold():
    shown = example(anomaly_map=np.where(example().mask, 1.0, 0.99).astype(np.float32))
    tile = dict(pictures._tiles(shown, SCALE))["predicted mask"]
    truth = heatmaps.mask_overlay(shown.image, shown.mask, heatmaps.PREDICTED_COLOR)
    np.testing.assert_array_equal(tile, truth)


def test_grid_draws_each_example_and_leaves_out_unknown_masks(tmp_path):
    shown = [example(), example(score=0.1, label=0, mask=None, defect="")]
    figure = pictures.grid(shown, SCALE)
    assert len(figure.axes) == 2 * 3 + 1
    assert {"scratch", "anomalous 1.8", "normal 0.1"} <= set(words(figure))
    assert len(pictures.grid([example(mask=None)], SCALE).axes) == 2 + 1
    assert pictures.save_figure(tmp_path / "grid.png", figure).stat().st_size > 1000


def test_same_figure_gives_the_same_bytes(tmp_path):
    one = pictures.save_figure(tmp_path / "1.png", pictures.panel(example(), SCALE))
    two = pictures.save_figure(tmp_path / "2.png", pictures.panel(example(), SCALE))
    assert one.read_bytes() == two.read_bytes()


def test_roc_figure_names_each_curve_with_its_area(tmp_path):
    points = roc_points([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    figure = roc_figure({"nll": points, "probability": points}, {"nll": 0.75, "probability": 0.5})
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["nll  0.750", "probability  0.500"]
    drawn = figure.axes[0].get_lines()[1].get_xydata()
    np.testing.assert_array_equal(drawn, np.stack([points.fpr, points.tpr], axis=1))
    pictures.save_figure(tmp_path / "roc.png", figure)


@pytest.mark.parametrize("tail", [False, True])
def test_histogram_counts_every_image_once_and_marks_the_threshold(tmp_path, tail):
    rng = np.random.default_rng(0)
    labels = np.arange(60) >= 40
    scores = np.exp(4 * rng.normal(labels)) if tail else rng.normal(labels)
    figure = histogram_figure(labels, scores, threshold=0.7, name="nll")
    axes = figure.axes[0]
    assert axes.get_xscale() == ("log" if tail else "linear")
    filled = [patch for patch in axes.patches if patch.get_fill()]
    assert [patch.get_data().values.sum() for patch in filled] == pytest.approx([1.0, 1.0])
    assert axes.get_lines()[0].get_xdata() == [0.7, 0.7]
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts == ["normal (40)", "anomalous (20)", "image threshold 0.7"]
    pictures.save_figure(tmp_path / "histogram.png", figure)


def test_histogram_of_pixels_says_so():
    axes = histogram_figure([0, 1], [0.1, 0.9], 0.5, "nll", "pixel").axes[0]
    assert axes.get_ylabel() == "share of pixels"
    assert axes.get_legend().get_texts()[2].get_text() == "pixel threshold 0.5"


@pytest.mark.parametrize("scores", [[1.0, 1.0], [0.0, 0.0], [-3.0, 1e6]])
def test_histogram_of_few_or_equal_scores_can_be_drawn(tmp_path, scores):
    pictures.save_figure(tmp_path / "h.png", histogram_figure([0, 0], scores))


def test_pictures_that_cannot_be_drawn_are_refused():
    shown = example()
    image, heat = shown.image, shown.anomaly_map
    with pytest.raises(InputError, match="does not fit an image"):
        heatmaps.heatmap_overlay(image, heat[:5], 0.0, 1.0)
    with pytest.raises(InputError, match="low < high, got low=1.0 and high=1.0"):
        heatmaps.heatmap_overlay(image, heat, 1.0, 1.0)
    with pytest.raises(InputError, match="NaN"):
        heatmaps.heatmap_overlay(image, heat * np.nan, 0.0, 1.0)
    with pytest.raises(InputError, match=r"uint8 \[h, w, 3\], got float64"):
        heatmaps.heatmap_overlay(image / 255, heat, 0.0, 1.0)
    with pytest.raises(InputError, match="no example"):
        pictures.grid([], SCALE)
    with pytest.raises(InputError, match="no curve"):
        roc_figure({}, {})
    with pytest.raises(InputError, match="do not fit"):
        histogram_figure([0, 1], [0.1, 0.2, 0.3])
