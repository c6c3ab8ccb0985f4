"""The folder that an evaluation leaves: metrics, scores, pictures, curves and the page."""

import dataclasses
import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from jaxflow.data.example import Split
from jaxflow.data.image import resize_image, resize_mask
from jaxflow.files import replacing, write_json
from jaxflow.reports.page import Picture, write_report
from jaxflow.reports.pictures import ScoredImage, grid, panel, save_figure
from jaxflow.reports.run_curves import Shown, write_curves
from jaxflow.reports.tables import ResultRow, write_scores_csv


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
    latents: Figure | None = None,
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
      latents: a figure of them, shown with the curves.

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
        curves = write_curves(new, test, size, scored, rows, shown, latents)
        write_report(
            new,
            title=title,
            protocol=protocol,
            rows=rows,
            pictures=drawn,
            curves=curves,
            notes=[
                *notes,
                *_mistakes(test.labels, scored[shown]),
                f"Pictures and histograms: {shown[0]} parameters, score {shown[1]}.",
            ],
        )
        written = {path.relative_to(new) for path in new.rglob("*.png")}
    for path in old:
        if path.relative_to(folder) not in written:
            path.unlink(missing_ok=True)
    return folder / "index.html"


def _old_pictures(folder: Path) -> set[Path]:
    """Return the pictures that an earlier evaluation can have left, and no file of another name."""
    old = {path for path in folder.glob("pictures/*.png") if re.fullmatch(r"\d{5,}", path.stem)}
    curves = ("roc", "histogram", "pixels", "latents")
    return old | {folder / "overview.png", *(folder / "curves" / f"{n}.png" for n in curves)}


def _mistakes(labels: np.ndarray, scored: Shown) -> list[str]:
    """Say how many test images are judged wrongly, of which some are drawn."""
    scale = scored.scale
    if scale is None:
        return []
    found, anomalous = scored.scores >= scale.image_threshold, labels.astype(bool)
    return [
        f"Missed: {(anomalous & ~found).sum()} of {anomalous.sum()} anomalous images; false "
        f"alarms: {(found & ~anomalous).sum()} of {(~anomalous).sum()} normal ones."
    ]


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

    A quarter is kept for the worst mistakes: missed images and false alarms in turn.

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
    worst = np.argsort(-np.abs(scores - threshold), kind="stable")
    kinds = [[int(i) for i in worst if wrong[i] and labels[i] == kind] for kind in (1, 0)]
    in_turn = [i for pair in itertools.zip_longest(*kinds) for i in pair if i is not None]
    chosen = in_turn[: count // 4]
    queues = {d: [int(i) for i in order if defects[i] == d] for d in sorted(set(defects))}
    while len(chosen) < min(count, len(scores)):
        for queue in queues.values():
            while queue and queue[0] in chosen:
                queue.pop(0)
            if queue and len(chosen) < count:
                chosen.append(queue.pop(0))
    return chosen
