"""Evaluate a trained run on its test images.

    python -m jaxflow.evaluate --workdir=runs/tiles

Writes into WORKDIR/evaluation: metrics.json, scores.csv (a row an image), pictures/ (input, mask,
heat map, predicted mask), curves/, and index.html, which shows them all. Every figure comes for
`last` and for `best by validation likelihood`, and with --oracle also for the marked oracle `best
on test`. Thresholds and colors come from held-out normal images alone.
"""

if __name__ == "__main__":
    from jaxflow import signals

    signals.end_at_once()  # The imports below take seconds.

from collections.abc import Mapping, Sequence
from pathlib import Path

import ml_collections
import numpy as np
from absl import flags

from jaxflow import command_line
from jaxflow.command_line import say, warn
from jaxflow.data import TEST_SETS, AnomalyDataset, Split, read_images, read_masks
from jaxflow.detectors import Detector
from jaxflow.errors import InputError
from jaxflow.evaluation import image_auroc
from jaxflow.evaluation.calibration import Calibration, read_calibrations
from jaxflow.evaluation.run_report import Scored, write_run_report
from jaxflow.evaluation.scoring import Maps, Scorer
from jaxflow.evaluation.summary import evaluate_scores
from jaxflow.evaluation.tables import ResultRow, format_table, result_table
from jaxflow.experiment import (
    TITLES,
    Selection,
    image_size,
    load_checkpoints,
    load_selections,
    make_dataset,
    make_detector,
    make_encoder,
    protocol,
    run_facts,
)
from jaxflow.maxima import TEST_MAXIMUM, score_by_own_maxima
from jaxflow.run_folder import CALIBRATION, check_facts, load_run

SHOWN = ("image_auroc", "pixel_auroc", "pixel_aupro", "image_f1_max", "pixel_f1_max")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    return command_line.run(_main, _define, __doc__, argv)


def _define(values: flags.FlagValues) -> None:
    command_line.define_trained_run(values)
    flags.DEFINE_bool(
        "oracle", False, "add best on test; needs training.keep_all", flag_values=values
    )
    flags.DEFINE_integer(
        "pictures", 24, "number of images drawn", lower_bound=0, flag_values=values
    )
    flags.DEFINE_enum(
        "test_set", "original", sorted(TEST_SETS), "which test images", flag_values=values
    )
    flags.DEFINE_string(
        "data_dir", None, "where the data lie now, if they were moved", flag_values=values
    )


def _main(values: flags.FlagValues) -> int:
    command_line.required(values, "workdir")
    workdir = Path(values.workdir)
    config, _ = load_run(workdir)
    if values.data_dir:
        config.data.data_dir = values.data_dir
    if values.weights:
        config.encoder.weights = values.weights
    rows = evaluate(
        config,
        workdir,
        oracle=values.oracle,
        pictures=values.pictures,
        test_set=values.test_set,
    )
    say(format_table(result_table(rows, SHOWN)))
    folder = _folder(workdir, values.test_set)
    say(f"pictures: {folder / 'overview.png'} and {folder / 'pictures'}")
    say(f"report: {folder / 'index.html'}")
    return 0


def evaluate(
    config: ml_collections.ConfigDict,
    workdir: Path,
    *,
    oracle: bool = False,
    pictures: int = 24,
    test_set: str = "original",
) -> list[ResultRow]:
    """Evaluate a run and write its report.

    Args:
      config: of the run.
      workdir: of the run.
      oracle: whether to add the checkpoint that is best on the test set, marked.
      pictures: number of images drawn.
      test_set: a key of `jaxflow.data.TEST_SETS`.

    Returns:
      A row for each selection and score.

    Raises:
      InputError: if the run is not finished, or its data or weights are not those it had.
    """
    if oracle and not config.training.keep_all:
        raise InputError(
            "--oracle needs all checkpoints; train with --config.training.keep_all=True"
        )
    encoder = make_encoder(config)
    dataset = make_dataset(config)
    check_facts(workdir, load_run(workdir)[1], run_facts(encoder, dataset))
    if dataset.test is None or not len(dataset.test):
        raise InputError(
            f"{dataset.name} ({dataset.category}) has no test images, so there is nothing to "
            f"evaluate; score images with: python -m jaxflow.predict --workdir={workdir}"
        )
    detector = make_detector(config, encoder)
    selections = load_selections(workdir, config, detector, warn)
    calibrations = read_calibrations(workdir / CALIBRATION)
    notes = _notes(config, encoder.sha256, dataset)
    for note in notes:
        warn(note)
    test = TEST_SETS[test_set](dataset.test)
    images, masks = read_images(test, image_size(config)), read_masks(test, image_size(config))
    if oracle:
        selections["oracle"] = _oracle(config, workdir, detector, images, test.labels)
    maps = _score(config, detector, selections, images)
    rows, scored = [], {}
    for name, by_score in maps.items():
        for score, values in by_score.items():
            calibration = calibrations.get(name, {}).get(score)
            rows.append(_row(name, score, selections[name], values, test, masks, calibration))
            scored[name, score] = Scored(values, calibration)
    write_run_report(
        _folder(workdir, test_set),
        title=f"{dataset.name} · {dataset.category} · {encoder.name}",
        protocol={**protocol(config, encoder, dataset), "test set": test_set},
        rows=rows,
        test=test,
        images=images,
        masks=masks,
        scored=scored,
        shown=("best" if "best" in maps else "last", config.evaluation.score),
        pictures=pictures,
        notes=notes,
    )
    return rows


def _score(
    config: ml_collections.ConfigDict,
    detector: Detector,
    selections: Mapping[str, Selection],
    images: np.ndarray,
) -> Maps:
    """Score the test images by every selection and every score that the run reports."""
    variables = {name: selection.variables for name, selection in selections.items()}
    batch_size = config.evaluation.batch_size
    maps = Scorer(detector, variables, detector.scores, batch_size)(images)
    if config.evaluation.test_maximum:
        for name, m in score_by_own_maxima(detector, variables, images, batch_size).items():
            maps[name][TEST_MAXIMUM] = m
    return maps


def _folder(workdir: Path, test_set: str) -> Path:
    return workdir / ("evaluation" if test_set == "original" else f"evaluation_{test_set}")


def _row(
    name: str,
    score: str,
    selection: Selection,
    maps: np.ndarray,
    test: Split,
    masks: np.ndarray | None,
    calibration: Calibration | None,
) -> ResultRow:
    evaluation = evaluate_scores(
        test.labels,
        maps.max((1, 2)),
        masks=masks,
        anomaly_maps=maps,
        image_threshold=calibration.image_threshold if calibration else None,
        pixel_threshold=calibration.pixel_threshold if calibration else None,
    )
    metrics: Mapping[str, float] = {**evaluation.metrics, "step": selection.step}
    oracle = name == "oracle" or score == TEST_MAXIMUM
    return ResultRow(TITLES[name], score, metrics, evaluation.skipped, oracle=oracle)


def _oracle(
    config: ml_collections.ConfigDict,
    workdir: Path,
    detector: Detector,
    images: np.ndarray,
    labels: np.ndarray,
) -> Selection:
    """Return the checkpoint whose image AUROC on the test set is highest: not a result."""
    score, best, best_auroc = config.evaluation.score, None, -1.0
    for selection in load_checkpoints(workdir, config, detector):
        scorer = Scorer(
            detector, {"oracle": selection.variables}, (score,), config.evaluation.batch_size
        )
        auroc = image_auroc(labels, scorer(images)["oracle"][score].max((1, 2)))
        if auroc > best_auroc:
            best, best_auroc = selection, auroc
    assert best is not None  # There is a last checkpoint, or loading would have failed before.
    return best


def _notes(
    config: ml_collections.ConfigDict, sha256: str | None, dataset: AnomalyDataset
) -> list[str]:
    """List what a reader of the figures must know."""
    notes = [] if sha256 else ["the encoder's weights are RANDOM: the figures say nothing"]
    if reason := dataset.explain_unavailable():
        notes.append(reason)
    if not len(dataset.validation):
        notes.append("no images were held out of training: no best, no thresholds, no pictures")
    if config.evaluation.test_maximum:
        notes.append(
            f"{TEST_MAXIMUM} is relative to the likelihood maxima of these very test images, as in "
            "CFLOW-AD's public code: it has seen the test set and is no result"
        )
    return notes


if __name__ == "__main__":
    signals.leave(main())
