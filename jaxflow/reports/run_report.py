"""The folder that an evaluation leaves: metrics, scores, pictures, curves and the page."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxflow.data.example import Split
from jaxflow.data.image import resize_image, resize_mask
from jaxflow.evaluation.calibration import Calibration, Scale
from jaxflow.evaluation.metrics import roc_points
from jaxflow.files import replacing, write_json
from jaxflow.reports.curves import histogram_figure, roc_figure
from jaxflow.reports.page import Picture, write_report
from jaxflow.reports.pictures import ScoredImage, grid, panel, save_figure
from jaxflow.reports.tables import ResultRow, write_scores_csv


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


def write_run_report(
    folder: Path,
    *,
    title: str,
    protocol: Mapping[str, object],
    rows: Sequence[ResultRow],
    test: Split,
    size: tuple[int, int],
    scored: Mapping[tuple[str, str], Shown],
    shown: tuple[str, str],
    pictures: int,
    notes: Sequence[str] = (),
) -> Path:
    """Write metrics.json, scores.csv, pictures/, curves/ and index.html.

    Args:
      folder: made if missing; files of an earlier evaluation are replaced, once all are written.
      title: of the page.
      protocol: what the figures depend on.
      rows: the metrics of each selection and score.
      test: the n test examples.
      size: (height, width) of the maps, pixels.
      scored: (selection, score) -> maps.
      shown: which of them the pictures and the histogram show.
      pictures: number of images drawn: both classes, spread over the defects.
      notes: sentences below the title.

    Returns:
      The path of index.html.
    """
    old = _old_pictures(folder)
    columns = {f"{selection}_{score}": value for (selection, score), value in scored.items()}
    with replacing(folder, "another evaluation") as new:
        (new / "pictures").mkdir()
        (new / "curves").mkdir()
        write_json(
            new / "metrics.json",
            {"protocol": dict(protocol), "results": [dataclasses.asdict(row) for row in rows]},
        )
        write_scores_csv(
            new / "scores.csv",
            test.names,
            test.labels,
            test.defects,
            {name: value.scores for name, value in columns.items()},
            {
                name: value.scores >= value.calibration.image_threshold
                for name, value in columns.items()
                if value.calibration and value.calibration.image_threshold is not None
            },
        )
        drawn = _pictures(new, test, size, scored[shown], pictures)
        curves = _curves(new, test.labels, scored, rows, shown)
        write_report(
            new,
            title=title,
            protocol=protocol,
            rows=rows,
            pictures=drawn,
            curves=curves,
            notes=[*notes, f"Pictures and histogram: {shown[0]} parameters, score {shown[1]}."],
        )
        written = {path.relative_to(new) for path in new.rglob("*.png")}
    for path in old:
        if path.relative_to(folder) not in written:
            path.unlink(missing_ok=True)
    return folder / "index.html"


def _old_pictures(folder: Path) -> set[Path]:
    """Return the pictures that an earlier evaluation can have left, and no file of another name."""
    old = {path for path in folder.glob("pictures/*.png") if re.fullmatch(r"\d{5,}", path.stem)}
    return old | {folder / f"{n}.png" for n in ("curves/roc", "curves/histogram", "overview")}


def _pictures(
    folder: Path,
    test: Split,
    size: tuple[int, int],
    scored: Shown,
    count: int,
) -> list[Picture]:
    scale, scores = scored.scale, scored.scores
    if scale is None:
        return []
    drawn = []
    for i in choose(test.labels, test.defects, scores, scale.image_threshold, count):
        example = _example(i, test, size, scored)
        path = Path("pictures") / f"{i:05d}.png"
        save_figure(folder / path, panel(example, scale))
        drawn.append(
            Picture(
                path.as_posix(),
                f"{example.name}: called {example.decision(scale)}, is {_truth(example)}",
                mistake=example.verdict(scale).replace("correct", ""),
                severity=abs(float(scores[i]) - scale.image_threshold),
            )
        )
    overview = [_example(i, test, size, scored) for i in medians(test.defects, scores)]
    save_figure(folder / "overview.png", grid(overview[:6], scale))
    return drawn


def _truth(example: ScoredImage) -> str:
    return example.defect or "anomalous" if example.label else "normal"


def _example(i: int, test: Split, size: tuple[int, int], scored: Shown) -> ScoredImage:
    example = test[i]
    return ScoredImage(
        example.name,
        resize_image(example.image, size),
        scored.maps[i],
        float(scored.scores[i]),
        None if example.mask is None else resize_mask(example.mask, size),
        example.label,
        example.defect,
    )


def medians(defects: Sequence[str], scores: np.ndarray) -> list[int]:
    """Choose one image of each defect, and of the normal ones: that of the median score.

    Args:
      defects: [n].
      scores: f[n].

    Returns:
      Indices, in the order of the defects' names.
    """
    names = np.asarray(defects)
    chosen = []
    for defect in sorted(set(defects)):
        members = np.flatnonzero(names == defect)
        chosen.append(int(members[np.argsort(scores[members])[len(members) // 2]]))
    return chosen


def choose(
    labels: np.ndarray, defects: Sequence[str], scores: np.ndarray, threshold: float, count: int
) -> list[int]:
    """Choose the images to draw: each defect in turn, the highest score of each first.

    A quarter is kept for the worst mistakes, normal images called anomalous among them.

    Args:
      labels: [n], 1 anomalous.
      defects: [n].
      scores: f[n].
      threshold: of the image score.
      count: how many at most.

    Returns:
      Indices, without repetition.
    """
    order = np.argsort(-scores, kind="stable")
    wrong = (scores >= threshold) != labels.astype(bool)
    worst = np.argsort(-np.abs(scores - threshold) * wrong, kind="stable")
    chosen = [int(i) for i in worst[: count // 4] if wrong[i]]
    queues = {d: [int(i) for i in order if defects[i] == d] for d in sorted(set(defects))}
    while len(chosen) < min(count, len(scores)):
        for queue in queues.values():
            while queue and queue[0] in chosen:
                queue.pop(0)
            if queue and len(chosen) < count:
                chosen.append(queue.pop(0))
    return chosen


def _curves(
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
