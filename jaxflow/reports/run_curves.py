"""The curves of a run report: ROC, histograms of images and of pixels, latents."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from jaxflow.data.example import Split
from jaxflow.data.image import resize_mask
from jaxflow.evaluation.calibration import Calibration, Scale
from jaxflow.evaluation.metrics import roc_points
from jaxflow.reports.curves import histogram_figure, roc_figure
from jaxflow.reports.page import Picture
from jaxflow.reports.pictures import save_figure
from jaxflow.reports.tables import ResultRow

# One of that many rows and columns of pixels is counted: no encoder's maps are finer.
_STEP = 4
# Images of each class whose pixels are counted, at most.
_PIXEL_IMAGES = 200
_LATENTS_CAPTION = (
    "Feature vectors on the first two principal components of the normal ones, in standard "
    "deviations; their latents, on those of the normal latents, as they are; and features that are "
    "sampled from the flow. A flow that fits has 95 % of the normal latents in the circle"
)


@dataclasses.dataclass(frozen=True)
class Shown:
    """The anomaly maps f32[n, h, w] and scores f32[n] of the test images, and what they mean."""

    maps: np.ndarray
    scores: np.ndarray
    calibration: Calibration | None

    @property
    def scale(self) -> Scale | None:
        """Return what pictures need, or None where something lacks."""
        return self.calibration.scale if self.calibration else None


def write_curves(
    folder: Path,
    test: Split,
    size: tuple[int, int],
    scored: Mapping[tuple[str, str], Shown],
    rows: Sequence[ResultRow],
    shown: tuple[str, str],
    latents: Figure | None = None,
) -> list[Picture]:
    """Draw what can be drawn into `curves/`; see `write_run_report`.

    Returns:
      The pictures, in the order of the page.
    """
    drawn = _image_curves(folder, test.labels, scored, rows, shown)
    drawn += _pixel_histogram(folder, test, size, scored[shown], shown[1])
    if latents is not None:
        save_figure(folder / "curves" / "latents.png", latents)
        drawn.append(Picture("curves/latents.png", _LATENTS_CAPTION, wide=True))
    return drawn


def _image_curves(
    folder: Path,
    labels: np.ndarray,
    scored: Mapping[tuple[str, str], Shown],
    rows: Sequence[ResultRow],
    shown: tuple[str, str],
) -> list[Picture]:
    if len(set(labels.tolist())) < 2:
        return []
    titles = [f"{row.name}, {row.score}" for row in rows]
    points = {
        title: roc_points(labels, value.scores)
        for title, value in zip(titles, scored.values(), strict=True)
    }
    areas = {title: row.metrics["image_auroc"] for title, row in zip(titles, rows, strict=True)}
    save_figure(folder / "curves" / "roc.png", roc_figure(points, areas))
    best = scored[shown]
    threshold = best.calibration.image_threshold if best.calibration else None
    save_figure(
        folder / "curves" / "histogram.png",
        histogram_figure(labels, best.scores, threshold, f"anomaly score ({shown[1]})"),
    )
    return [
        Picture("curves/roc.png", "ROC of the image scores"),
        Picture("curves/histogram.png", "Scores of the normal and the anomalous test images"),
    ]


def _pixel_histogram(
    folder: Path, test: Split, size: tuple[int, int], scored: Shown, score: str
) -> list[Picture]:
    """Draw the scores of normal and of anomalous pixels, where there are masks and pixels of both.

    Reference: arXiv 2107.12571, Figure 4.
    """
    grid = tuple(slice(_STEP // 2 if n > _STEP else 0, None, _STEP) for n in size)
    masks, values = [], []
    for i in spread(test.labels, _PIXEL_IMAGES):
        mask = test[i].mask
        if mask is None:
            return []
        masks.append(resize_mask(mask, size)[grid].ravel())
        values.append(scored.maps[i][grid].ravel())
    anomalous, scores = np.concatenate(masks), np.concatenate(values)
    if anomalous.all() or not anomalous.any():
        return []
    threshold = scored.calibration.pixel_threshold if scored.calibration else None
    figure = histogram_figure(anomalous, scores, threshold, f"pixel score ({score})", "pixel")
    save_figure(folder / "curves" / "pixels.png", figure)
    return [Picture("curves/pixels.png", "Scores of the normal and the anomalous test pixels")]


def spread(labels: np.ndarray, count: int) -> list[int]:
    """Choose up to `count` images of each class, evenly spread over i[n] labels."""
    kinds = [np.flatnonzero(labels == kind) for kind in (0, 1)]
    chosen = [
        kind[np.linspace(0, len(kind) - 1, min(len(kind), count)).astype(int)] for kind in kinds
    ]
    return [int(i) for kind in chosen for i in kind]
