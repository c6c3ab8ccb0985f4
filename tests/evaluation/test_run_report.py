"""What the folder of an evaluation holds, and which images it shows."""

import numpy as np
import pytest

from jaxflow.data.example import Example, Split
from jaxflow.detectors.clouds import Cloud, Clouds
from jaxflow.errors import InputError
from jaxflow.evaluation.calibration import Quantiles, calibrate
from jaxflow.reports.clouds_figure import clouds_figure
from jaxflow.reports.run_curves import Shown, spread
from jaxflow.reports.run_report import choose, write_run_report
from jaxflow.reports.tables import ResultRow

SIZE = (16, 16)


def draw_split(masks=True):
    """Return 8 test images, of which the last 4 have a spot."""
    mask = np.zeros(SIZE, bool)
    mask[4:12, 4:12] = True
    examples = [
        Example(
            np.full((*SIZE, 3), 90, np.uint8),
            (mask if i >= 4 else np.zeros(SIZE, bool)) if masks or i < 4 else None,
            int(i >= 4),
            "spot" if i >= 4 else "good",
            f"test/{i}.png",
        )
        for i in range(8)
    ]
    return Split.of(examples, [e.name for e in examples], [e.defect for e in examples]), mask


def report(folder, masks=True, **options):
    """Write a report in which one spot is missed and one normal image is a false alarm."""
    test, mask = draw_split(masks)
    scores = np.asarray([0, 0, 0, 1, 0, 1, 1, 1], np.float32)
    maps = np.where(mask, scores[:, None, None], 0).astype(np.float32)
    normal = np.random.default_rng(0).uniform(0, 0.5, (20, *SIZE)).astype(np.float32)
    calibration = calibrate(normal, normal.max((1, 2)), Quantiles())
    row = ResultRow("last", "nll", {"image_auroc": 0.75})
    return write_run_report(
        folder,
        title="a run",
        protocol={},
        rows=[row],
        test=test,
        size=SIZE,
        scored={("last", "nll"): Shown(maps, scores, calibration)},
        shown=("last", "nll"),
        pictures=8,
        **options,
    ).read_text(encoding="utf-8")


def clouds(channels=4):
    rng = np.random.default_rng(0)
    anomalous = np.arange(50) >= 40

    def draw(n):
        return rng.normal(size=(n, channels)).astype(np.float32)

    return Clouds(Cloud(draw(50), anomalous), Cloud(draw(50), anomalous), draw(30))


def test_each_kind_of_mistake_has_a_gallery_and_the_page_counts_all(tmp_path):
    text = report(tmp_path)
    assert "Missed: 1 of 4 anomalous images; false alarms: 1 of 4 normal ones." in text
    galleries = {
        section.partition("</h2>")[0]: section.count("<figure")
        for section in text.split("<h2>")[1:]
    }
    names = list(galleries)
    assert names[-3:] == ["Missed", "False alarm", "Pictures"]
    assert [galleries[name] for name in names[-3:]] == [1, 1, 6]


def test_pixels_have_a_histogram_where_there_are_masks(tmp_path):
    assert 'src="curves/pixels.png"' in report(tmp_path / "a")
    assert 'src="curves/pixels.png"' not in report(tmp_path / "b", masks=False)
    assert not (tmp_path / "b" / "curves" / "pixels.png").exists()


def test_latents_have_a_row_of_their_own_and_go_with_the_next_report(tmp_path):
    text = report(tmp_path, latents=clouds_figure([clouds(), clouds()]))
    assert '<figure class="wide"><img src="curves/latents.png"' in text
    report(tmp_path)
    assert not (tmp_path / "curves" / "latents.png").exists()


def test_a_figure_of_latents_shows_every_vector_and_fixes_axes_by_normal_ones():
    given = clouds()
    figure = clouds_figure([given, given])
    assert len(figure.axes) == 6
    before, after, made = figure.axes[:3]
    counts = [[len(c.get_offsets()) for c in axes.collections] for axes in (before, after, made)]
    assert counts == [[40, 10], [40, 10], [40, 0, 30]]
    normal = before.collections[0].get_offsets()
    np.testing.assert_allclose(normal.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(normal.std(0, ddof=1), 1, rtol=1e-5)
    # Latents keep their unit: the circle of a standard normal means what it says.
    lengths = np.linalg.norm(np.concatenate([c.get_offsets() for c in after.collections]), axis=1)
    assert (lengths <= np.linalg.norm(given.latents.vectors, axis=1) + 1e-5).all()
    assert after.patches[0].get_radius() == pytest.approx(2.4477, abs=1e-4)


def test_a_figure_of_no_latents_is_refused():
    with pytest.raises(InputError, match="no map was given"):
        clouds_figure([])
    few = Cloud(np.ones((5, 4), np.float32), np.arange(5) >= 2)
    with pytest.raises(InputError, match="2 normal vectors; at least 3 are needed"):
        clouds_figure([Clouds(few, few, np.ones((1, 4), np.float32))])


def test_missed_images_and_false_alarms_are_chosen_in_turn():
    labels = np.arange(40) >= 20
    scores = np.where(labels, 1.0, 0.0)
    scores[:8], scores[20:22] = 5.0 + np.arange(8), [0.2, 0.1]
    defects = ["spot" if label else "good" for label in labels]
    chosen = choose(labels.astype(int), defects, scores, 0.5, 16)
    assert chosen[:4] == [21, 7, 20, 6]
    assert len(set(chosen)) == 16


def test_a_few_images_of_each_class_are_spread_over_all():
    labels = np.repeat([0, 1, 0], [5, 3, 5])
    assert spread(labels, 4) == [0, 3, 9, 12, 5, 6, 7]
    assert spread(labels[:5], 2) == [0, 4]
