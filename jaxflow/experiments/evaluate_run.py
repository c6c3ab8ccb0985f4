"""The figures of a run on its test images, and the report of them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np

from jaxflow.data.disturb import TEST_SETS
from jaxflow.data.example import AnomalyDataset, Split
from jaxflow.data.pipeline import read_in_batches
from jaxflow.detectors.scorer import Scorer
from jaxflow.errors import InputError
from jaxflow.evaluation import image_auroc
from jaxflow.evaluation.calibration import Decision
from jaxflow.experiments.build import Experiment, build
from jaxflow.experiments.command_line import warn
from jaxflow.experiments.describe import TITLES, protocol
from jaxflow.experiments.detector import is_relative, reported_scores
from jaxflow.experiments.latents import latents_figure
from jaxflow.experiments.load import load
from jaxflow.experiments.run_folder import check_facts
from jaxflow.files import check_writable
from jaxflow.model import Evaluated, Model, Selection
from jaxflow.reports.run_curves import Shown
from jaxflow.reports.run_report import write_run_report
from jaxflow.reports.tables import SAME, VALIDATION_NLL, ResultRow
from jaxflow.training import KeptFeatures, encoded, learn_after, read_checkpoints, run_passes

_AS_TRAINED = Decision()
# The end of a score's name that has seen the test set: the public code's choice of the maxima.
TEST_MAXIMUM = "_test_max"
# (selection, score) -> figures.
Figures = Mapping[tuple[str, str], Evaluated]


class EvaluatedRun(NamedTuple):
    """The figures of a run.

    Attributes:
      rows: for each selection and score.
      promise: in a line, what the deciding image threshold promises; None without one.
      folder: of the report.
      model: of the run.
    """

    rows: list[ResultRow]
    promise: str | None
    folder: Path
    model: Model


def evaluate_run(
    config: ml_collections.ConfigDict,
    workdir: Path,
    *,
    oracle: bool = False,
    pictures: int = 24,
    test_set: str = "original",
    decision: Decision = _AS_TRAINED,
    latents: bool = False,
) -> EvaluatedRun:
    """Evaluate a run and write its report.

    Args:
      config: of the run.
      workdir: of the run.
      oracle: whether to add the checkpoint that is best on the test set, marked.
      pictures: number of images drawn.
      test_set: a key of `jaxflow.data.disturb.TEST_SETS`.
      decision: what decides, in place of the run's own score and thresholds.
      latents: whether to draw them.

    Raises:
      InputError: if the run is not finished, or its data or weights are not those it had.
    """
    if oracle and not config.training.keep_all:
        raise InputError(
            "--oracle needs all checkpoints; train with --config.training.keep_all=True"
        )
    decision.check(reported_scores(config))
    folder = workdir / ("evaluation" if test_set == "original" else f"evaluation_{test_set}")
    check_writable("workdir", folder)
    model = load(workdir, weights=config.encoder.weights)
    experiment = build(config, model.detector)
    check_facts(workdir, model.about["facts"], experiment.about["facts"])
    test = TEST_SETS[test_set](_test_images(experiment.dataset, workdir))
    titles, model = _shown_once(model)
    drawn = latents_figure(model, test) if latents else None
    deciding, promised = model.calibration(model.usual, decision)
    notes = _notes(experiment)
    for line in notes:
        warn(line)
    if oracle:
        best = _oracle(experiment, workdir, model, test, deciding)
        model = model.with_selections({**model.selections, "oracle": best})
    figures = _figures(experiment, model, test, decision, _both(notes.append, warn))
    rows = [_row(titles, model, *key, found) for key, found in figures.items()]
    promise = promised.promise()
    if promise:
        notes.append(promise := f"{deciding}, {titles[model.usual]}: {promise}.")
    meanings = [f"{score}: {model.detector.meanings[score]}" for score in model.detector.scores]
    dataset = experiment.dataset
    write_run_report(
        folder,
        title=f"{dataset.name} · {dataset.category} · {model.detector.encoder.name}",
        protocol=protocol(experiment) | {"test set": test_set} | decision.chosen(),
        rows=rows,
        test=test,
        size=model.size,
        scored={key: Shown(*found.scored, found.calibration) for key, found in figures.items()},
        shown=(model.usual, deciding),
        pictures=pictures,
        notes=[*dataset.notes, *notes, *meanings],
        latents=drawn,
    )
    return EvaluatedRun(rows, promise, folder, model)


def _both(*takers: Callable[[str], object]) -> Callable[[str], object]:
    return lambda line: [take(line) for take in takers]


def _shown_once(model: Model) -> tuple[dict[str, str], Model]:
    """Return the titles and the selections; where `last` is `best`, one row serves both."""
    selections = dict(model.selections)
    if "best" not in selections or selections["best"].step != selections["last"].step:
        return dict(TITLES), model
    del selections["last"]
    return {**TITLES, "best": SAME}, model.with_selections(selections)


def _test_images(dataset: AnomalyDataset, workdir: Path) -> Split:
    if dataset.test is None or not len(dataset.test):
        raise InputError(
            f"{dataset.name} ({dataset.category}) has no test images, so there is nothing to "
            f"evaluate; score images with: python -m jaxflow.predict --workdir={workdir}"
        )
    return dataset.test


def _figures(
    experiment: Experiment,
    model: Model,
    test: Split,
    decision: Decision,
    note: Callable[[str], object],
) -> Figures:
    """Judge every selection by every score that the run reports."""
    found = model.evaluate(test, decision=decision, note=note)
    if not experiment.test_maximum:
        return found
    relative = [name for name in model.detector.scores if is_relative(name)]
    seen = _relative_to(test, model).evaluate(test, scores=relative)
    return found | {(name, score + TEST_MAXIMUM): each for (name, score), each in seen.items()}


def _relative_to(test: Split, model: Model) -> Model:
    """Return the model whose scores are relative to the test images, as CFLOW-AD's public code.

    A score then depends on what else is scored. For the record, not for use.
    """
    variables = {name: selection.variables for name, selection in model.selections.items()}
    detector = model.detector
    changed = run_passes(detector.after, variables, encoded(detector.encoder, test, model.size))
    return model.with_selections(
        {
            name: Selection(selection.step, changed[name], {})
            for name, selection in model.selections.items()
        }
    )


def _row(
    titles: Mapping[str, str], model: Model, name: str, score: str, found: Evaluated
) -> ResultRow:
    metrics, skipped = found.evaluation
    learned, reason = _learned(model, name)
    return ResultRow(
        titles[name],
        score,
        {**metrics, **learned},
        {**skipped, VALIDATION_NLL: reason} if reason else skipped,
        oracle=name == "oracle" or score.endswith(TEST_MAXIMUM),
    )


def _learned(model: Model, name: str) -> tuple[dict[str, float], str]:
    """Return what is known of a selection without a test image, and why there is no likelihood.

    `validation_nll` is that of the encoder's own features, in nats per dimension; `parameters` are
    trained numbers and `constants` others that are kept, both without the encoder's;
    `train_seconds`: see `fit`.
    """
    selection, likelihood = model.selections[name], model.detector.likelihood
    known = {
        "step": selection.step,
        "parameters": _count(selection.variables.get("params", {})),
        "constants": _count(selection.variables.get("constants", {})),
        "train_seconds": model.about.get("train_seconds"),
        VALIDATION_NLL: selection.validation_nll,
    }
    reason = ""
    if likelihood is None:
        reason = "there is no likelihood"
    elif likelihood.instead:
        reason = f"the likelihood is of {likelihood.instead}, not of the encoder's own features"
        known[VALIDATION_NLL] = None
    return {key: value for key, value in known.items() if value is not None}, reason


def _count(tree: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def _oracle(
    experiment: Experiment, workdir: Path, model: Model, test: Split, score: str
) -> Selection:
    """Return the checkpoint whose image AUROC on the test set is highest: not a result."""
    detector, recipe = model.detector, experiment.recipe
    scorer = Scorer(detector, model.batch_size)  # One for all checkpoints: it compiles once.
    train, validation = experiment.dataset.train, experiment.dataset.validation
    if detector.after:
        kept = [
            KeptFeatures(detector.encoder, split, recipe.size, recipe.feature_memory).in_batches
            for split in (train, validation)
        ]
        normal, held_out = kept[0], kept[1] if len(validation) else None
    best, best_auroc = None, -1.0
    for step, variables, *_ in read_checkpoints(detector, recipe, workdir):
        if detector.after:
            variables = learn_after(detector, {"oracle": variables}, normal, held_out)["oracle"]
        placed = scorer.place({"oracle": variables})
        scores = [
            scorer(placed, images[valid])["oracle"][score].anomaly_score
            for images, valid in read_in_batches(test, model.size, model.batch_size)
        ]
        auroc = image_auroc(test.labels, np.concatenate(scores))
        if auroc > best_auroc:
            best, best_auroc = Selection(step, variables, {}), auroc
    assert best is not None  # There is a last checkpoint, or there would be no model.
    return best


def _notes(experiment: Experiment) -> list[str]:
    """List what a reader of the figures must know."""
    dataset, random = experiment.dataset, experiment.detector.encoder.sha256 is None
    notes = ["the encoder's weights are RANDOM: the figures say nothing"] if random else []
    if reason := dataset.explain_unavailable():
        notes.append(reason)
    if not len(dataset.validation):
        notes.append("no images were held out of training: no best, no thresholds, no pictures")
    if experiment.test_maximum:
        notes.append(
            f"a score that ends in {TEST_MAXIMUM} is relative to the likelihood maxima of these "
            "very test images, as in CFLOW-AD's public code: it has seen the test set and is no "
            "result"
        )
    return notes
