"""Evaluate a trained run on its test images.

    python -m jaxflow.evaluate --workdir=runs/tiles

Writes into WORKDIR/evaluation: metrics.json, scores.csv (a row an image), pictures/ (input, mask,
heat map, predicted mask), curves/, and index.html, which shows them all. Every figure comes for
`last` and for `best by validation likelihood`, and with --oracle also for the marked oracle `best
on test`. Thresholds and colors come from held-out normal images alone.
"""

if __name__ == "__main__":
    from jaxflow.experiments import signals

    signals.end_at_once()  # The imports below take seconds.

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import ml_collections
import numpy as np
from absl import flags

from jaxflow.data import TEST_SETS, AnomalyDataset, Split, read_images, read_masks
from jaxflow.detectors import Scored, Variables
from jaxflow.detectors.scorer import Scorer
from jaxflow.errors import InputError
from jaxflow.evaluation import image_auroc
from jaxflow.evaluation.calibration import Calibration, Decision
from jaxflow.evaluation.summary import evaluate_scores
from jaxflow.experiments import command_line
from jaxflow.experiments.build import make_dataset, make_recipe, reported_scores
from jaxflow.experiments.command_line import say, warn
from jaxflow.experiments.describe import TITLES, protocol, run_facts
from jaxflow.experiments.load import load
from jaxflow.experiments.run_folder import check_facts, load_run
from jaxflow.files import check_writable
from jaxflow.model import Model, Selection
from jaxflow.reports.run_report import Shown, write_run_report
from jaxflow.reports.tables import SAME, ResultRow, format_table, result_table
from jaxflow.training import encoded, read_checkpoints, run_passes

# The row of a report that has seen the test set: the public code's choice of the maxima.
TEST_MAXIMUM = "cflow_test_max"
_AS_TRAINED = Decision()
SHOWN = ("image_auroc", "pixel_auroc", "pixel_aupro", "image_f1_max", "pixel_f1_max")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    return command_line.run(_main, _define, __doc__, argv)


class Evaluated(NamedTuple):
    """The figures of a run, and in a line what its image threshold promises."""

    rows: list[ResultRow]
    promise: str | None


def _define(values: flags.FlagValues) -> None:
    command_line.define_trained_run(values)
    flags.DEFINE_bool(
        "oracle", False, "add best on test, marked; needs training.keep_all", flag_values=values
    )
    flags.DEFINE_integer(
        "pictures", 24, "number of images drawn", lower_bound=0, flag_values=values
    )
    flags.DEFINE_enum(
        "test_set",
        "original",
        sorted(TEST_SETS),
        "test images: as they are, or disturbed as in FastFlow's supplement",
        flag_values=values,
    )
    flags.DEFINE_string(
        "data_dir", None, "folder of the images, if it was moved", flag_values=values
    )
    command_line.define_decision(values)


def _main(values: flags.FlagValues) -> int:
    command_line.required(values, "workdir")
    workdir = Path(values.workdir)
    config, _ = load_run(workdir)
    if values.data_dir:
        config.data.data_dir = values.data_dir
    if values.weights:
        config.encoder.weights = values.weights
    evaluated = evaluate(
        config,
        workdir,
        oracle=values.oracle,
        pictures=values.pictures,
        test_set=values.test_set,
        decision=command_line.decision(values),
    )
    say(format_table(result_table(evaluated.rows, SHOWN)))
    if evaluated.promise:
        say(evaluated.promise)
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
    decision: Decision = _AS_TRAINED,
) -> Evaluated:
    """Evaluate a run and write its report.

    Args:
      config: of the run.
      workdir: of the run.
      oracle: whether to add the checkpoint that is best on the test set, marked.
      pictures: number of images drawn.
      test_set: a key of `jaxflow.data.TEST_SETS`.
      decision: what decides, in place of the run's own score and thresholds.

    Returns:
      A row for each selection and score, and what the deciding threshold promises.

    Raises:
      InputError: if the run is not finished, or its data or weights are not those it had.
    """
    if oracle and not config.training.keep_all:
        raise InputError(
            "--oracle needs all checkpoints; train with --config.training.keep_all=True"
        )
    decision.check(reported_scores(config))
    folder = _folder(workdir, test_set)
    check_writable("workdir", folder)
    model = load(workdir, weights=config.encoder.weights)
    dataset = make_dataset(config)
    detector = model.detector
    check_facts(workdir, model.about["facts"], run_facts(detector.encoder, dataset))
    test = TEST_SETS[test_set](_test_images(dataset, workdir))
    titles, model = _shown_once(model)
    deciding, promised = model.calibration(model.usual, decision)
    notes = _notes(config, detector.encoder.sha256, dataset)
    images = read_images(test, model.size)
    masks = read_masks(test, model.size, note=notes.append)
    for note in notes:
        warn(note)
    if oracle:
        oracle_selection = _oracle(config, workdir, model, dataset, images, test, deciding)
        model = model.with_selections({**model.selections, "oracle": oracle_selection})
    scored = _score(config, model, test, images)
    calibrations = {key: _calibration(model, *key, decision) for key in scored}
    rows = [
        dataclasses.replace(
            _row(key, model.selections[key[0]], scored[key], test, masks, calibrations[key]),
            selection=titles[key[0]],
        )
        for key in scored
    ]
    promise = promised.promise()
    if promise:
        notes.append(promise := f"{deciding}, {titles[model.usual]}: {promise}.")
    meanings = [f"{score}: {detector.meanings[score]}" for score in detector.scores]
    write_run_report(
        folder,
        title=f"{dataset.name} · {dataset.category} · {detector.encoder.name}",
        protocol=protocol(config, detector, dataset) | {"test set": test_set} | decision.chosen(),
        rows=rows,
        test=test,
        images=images,
        masks=masks,
        scored={key: Shown(*scored[key], calibrations[key]) for key in scored},
        shown=(model.usual, deciding),
        pictures=pictures,
        notes=[*dataset.notes, *notes, *meanings],
    )
    return Evaluated(rows, promise)


def _shown_once(model: Model) -> tuple[dict[str, str], Model]:
    """Return the titles and the selections; where `last` is `best`, one row serves both."""
    selections = dict(model.selections)
    if "best" not in selections or selections["best"].step != selections["last"].step:
        return dict(TITLES), model
    del selections["last"]
    return {**TITLES, "best": SAME}, model.with_selections(selections)


def _score(
    config: ml_collections.ConfigDict, model: Model, test: Split, images: np.ndarray
) -> dict[tuple[str, str], Scored]:
    """Score the test images by every selection and every score that the run reports."""
    scored = {
        (name, score): values
        for name, by_score in model.scores(images).items()
        for score, values in by_score.items()
    }
    if config.evaluation.test_maximum:
        scored |= _by_own_maxima(model, test, images)
    return scored


def _calibration(
    model: Model, selection: str, score: str, decision: Decision
) -> Calibration | None:
    """Return what the values of a score mean; a user's choice counts for the deciding score."""
    deciding, calibration = model.calibration(selection, decision)
    if score == deciding:
        return calibration
    return model.selections[selection].calibrations.get(score)


def _test_images(dataset: AnomalyDataset, workdir: Path) -> Split:
    if dataset.test is None or not len(dataset.test):
        raise InputError(
            f"{dataset.name} ({dataset.category}) has no test images, so there is nothing to "
            f"evaluate; score images with: python -m jaxflow.predict --workdir={workdir}"
        )
    return dataset.test


def _folder(workdir: Path, test_set: str) -> Path:
    return workdir / ("evaluation" if test_set == "original" else f"evaluation_{test_set}")


def _row(
    key: tuple[str, str],
    selection: Selection,
    scored: Scored,
    test: Split,
    masks: np.ndarray | None,
    calibration: Calibration | None,
) -> ResultRow:
    name, score = key
    evaluation = evaluate_scores(
        test.labels,
        scored.anomaly_score,
        masks=masks,
        anomaly_maps=scored.anomaly_map,
        image_threshold=calibration.image_threshold if calibration else None,
        pixel_threshold=calibration.pixel_threshold if calibration else None,
    )
    metrics: Mapping[str, float] = {**evaluation.metrics, "step": selection.step}
    oracle = name == "oracle" or score == TEST_MAXIMUM
    return ResultRow(TITLES[name], score, metrics, evaluation.skipped, oracle=oracle)


def _by_own_maxima(model: Model, test: Split, images: np.ndarray) -> dict[tuple[str, str], Scored]:
    """Score the test images relative to themselves, as CFLOW-AD's public code does.

    A score then depends on what else is scored. For the record, not for use.
    """
    detector = model.detector
    variables = {name: selection.variables for name, selection in model.selections.items()}
    relative = run_passes(detector.after, variables, encoded(detector.encoder, test, model.size))
    scorer = Scorer(detector, model.batch_size)
    scored = scorer(scorer.place(relative), images)
    return {(name, TEST_MAXIMUM): by_score["cflow"] for name, by_score in scored.items()}


def _oracle(
    config: ml_collections.ConfigDict,
    workdir: Path,
    model: Model,
    dataset: AnomalyDataset,
    images: np.ndarray,
    test: Split,
    score: str,
) -> Selection:
    """Return the checkpoint whose image AUROC on the test set is highest: not a result."""
    scorer = Scorer(model.detector, model.batch_size)
    best, best_auroc = None, -1.0
    for step, variables in _checkpoints(config, workdir, model, dataset):
        scored = scorer(scorer.place({"oracle": variables}), images)["oracle"][score]
        auroc = image_auroc(test.labels, scored.anomaly_score)
        if auroc > best_auroc:
            best, best_auroc = Selection(step, variables, {}), auroc
    assert best is not None  # There is a last checkpoint, or there would be no model.
    return best


def _checkpoints(
    config: ml_collections.ConfigDict, workdir: Path, model: Model, dataset: AnomalyDataset
) -> Iterator[tuple[int, Variables]]:
    """Read all checkpoints, with what the passes after training learn."""
    detector, recipe = model.detector, make_recipe(config, dataset.category, 1)
    for step, variables in read_checkpoints(detector, recipe, workdir):
        normal = encoded(detector.encoder, dataset.train, model.size)
        yield step, run_passes(detector.after, {"oracle": variables}, normal)["oracle"]


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
