"""From normal images to a model to hold."""

import contextlib
import functools
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxflow.data.example import AnomalyDataset, Split
from jaxflow.data.pipeline import read_in_batches
from jaxflow.detectors import Detector
from jaxflow.detectors.scorer import Scorer
from jaxflow.evaluation.calibration import Quantiles, calibrate
from jaxflow.model import Model, Selection
from jaxflow.training import (
    Clock,
    Recipe,
    Trained,
    create_state,
    encoded,
    keep_features,
    learn_after,
    make_trainer,
    mean_nll,
    read_selections,
    run_passes,
)
from jaxflow.training.loop import no_signals

_USUAL = Quantiles()
# Feature maps, and which images count.
Batches = Iterator[tuple[tuple[Any, ...], np.ndarray]]


def fit(
    detector: Detector,
    dataset: AnomalyDataset,
    workdir: str | Path | None = None,
    *,
    recipe: Recipe | None = None,
    score: str | None = None,
    score_batch_size: int = 32,
    quantiles: Quantiles = _USUAL,
    about: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = print,
    signals: Callable[[], AbstractContextManager[list[int]]] = no_signals,
    **options: Any,
) -> Model:
    """Fit a detector to normal images, and calibrate it on those held out.

    The model's `about["train_seconds"]` are those of the wall clock in which it learned: encoding,
    passes, training steps, validations and checkpoints, without compilation. Of a run that was
    stopped, what the stop lost does not count, and encoding again does.

    Args:
      detector: of any family.
      dataset: its `train` is learned from, its `validation` chooses `best` and the thresholds.
      workdir: keeps the checkpoints, from which the same call goes on; None: none are kept.
      recipe: how it is trained; None: `Recipe(**options)`.
      score: that decides; None: the first of the detector's.
      score_batch_size: images at once in scoring.
      quantiles: where the thresholds are.
      about: JSON-able, stored with the model.
      say: takes lines for the user.
      signals: see `Trainer`.
      **options: of `Recipe`, such as `epochs`, `size` and `optimizer`.

    Raises:
      InputError: if the workdir holds checkpoints and none can be used.
      RunStopped: when the loss is not finite.
      TypeError: if there is no such option, or a recipe is given with options.
    """
    if recipe is not None and options:
        raise TypeError(f"{next(iter(options))} belongs to the recipe: give one of the two")
    recipe = recipe or Recipe(**options)
    with _folder(workdir) as folder:
        with Clock() as first:
            features = keep_features(detector, dataset, recipe, say)
            maps = _maps(detector, dataset.train, recipe)
            normal = maps if features is None else features.in_batches
            drawn = detector.init(jax.random.key(recipe.seed), recipe.size)
            variables = run_passes(detector.before, {"last": drawn}, normal())["last"]
        trained = {"last": Trained(0, variables, seconds=0.0)}
        if detector.objective is not None:
            trainer = make_trainer(detector, dataset, features, recipe, folder, say, signals)
            trainer.run(create_state(variables, recipe.optimizer, recipe.seed))
            trained = read_selections(detector, recipe, folder, say)
    held_out = _maps(detector, dataset.validation, recipe) if len(dataset.validation) else None
    variables_of = {name: each.variables for name, each in trained.items()}
    with Clock() as after:
        learned = learn_after(detector, variables_of, normal, held_out)
    trained = {
        name: _with_likelihood(detector, each._replace(variables=learned[name]), held_out)
        for name, each in trained.items()
    }
    steps = trained["last"].seconds
    seconds = None if steps is None else first.seconds + steps + after.seconds
    return Model(
        detector,
        _calibrated(detector, dataset, recipe, trained, score_batch_size, quantiles),
        size=recipe.size,
        score=score or detector.scores[0],
        batch_size=score_batch_size,
        about={**(about or {}), "train_seconds": seconds},
    )


def _with_likelihood(
    detector: Detector, trained: Trained, held_out: Callable[[], Batches] | None
) -> Trained:
    """Add the likelihood of the held-out images, where training has not computed it."""
    likelihood = detector.likelihood
    if likelihood is None or held_out is None or trained.validation_nll is not None:
        return trained
    return trained._replace(validation_nll=mean_nll(likelihood, trained.variables, held_out()))


@contextlib.contextmanager
def _folder(workdir: str | Path | None) -> Iterator[Path]:
    if workdir is not None:
        Path(workdir).mkdir(parents=True, exist_ok=True)
        yield Path(workdir)
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def _maps(detector: Detector, split: Split, recipe: Recipe) -> Callable[[], Batches]:
    """Return what computes the feature maps of a split at every call, batch by batch."""
    return functools.partial(encoded, detector.encoder, split, recipe.size)


def _calibrated(
    detector: Detector,
    dataset: AnomalyDataset,
    recipe: Recipe,
    trained: Mapping[str, Trained],
    batch_size: int,
    quantiles: Quantiles,
) -> dict[str, Selection]:
    """Give each selection what the scores of the held-out normal images mean."""
    held_out, scored = dataset.validation, {}
    if len(held_out):
        scorer = Scorer(detector, batch_size, recipe.devices)
        placed = scorer.place({name: each.variables for name, each in trained.items()})
        batches = read_in_batches(held_out, recipe.size, batch_size)
        scored = scorer.all(placed, (images[valid] for images, valid in batches), len(held_out))
    return {
        name: Selection(
            each.step,
            each.variables,
            {
                score: calibrate(*values, quantiles)
                for score, values in scored.get(name, {}).items()
            },
            each.validation_nll,
        )
        for name, each in trained.items()
    }
