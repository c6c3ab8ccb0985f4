"""A trained detector to hold: it scores images, and is kept in a folder."""

import dataclasses
import types
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxflow.data.example import AnomalyDataset, Split
from jaxflow.data.inputs import Images, read_inputs
from jaxflow.detectors import Detector, Scored, Variables
from jaxflow.detectors.scorer import Scorer, Scores
from jaxflow.detectors.variables import read_variables, write_variables
from jaxflow.errors import InputError
from jaxflow.evaluation.calibration import Calibration, Decision
from jaxflow.evaluation.summary import Evaluation, evaluate_scores
from jaxflow.files import read_sealed_json, replacing, write_sealed_json

# What a model's folder holds beside one `<selection>.safetensors` a selection.
_ABOUT = "model.json"


class Selection(NamedTuple):
    """Variables of a detector that are reported.

    Attributes:
      step: batches of images taken; 0 where nothing is trained by gradient.
      variables: of the detector, with all that its passes learned.
      calibrations: score -> what its values mean; {} where no images were held out.
      validation_nll: of the held-out normal images, nats per dimension; None where none were held
        out, or the detector has no likelihood.
    """

    step: int
    variables: Variables
    calibrations: Mapping[str, Calibration]
    validation_nll: float | None = None


class Result(NamedTuple):
    """What a model says of n images.

    Attributes:
      names: of the images: their paths, or their numbers.
      anomaly_maps: f32[n, height, width], higher is more anomalous.
      anomaly_scores: f32[n].
      p_values: f64[n], conformal; None where no images were held out.
      decisions: bool[n], whether an image is called anomalous; None without a threshold.
    """

    names: list[str]
    anomaly_maps: np.ndarray
    anomaly_scores: np.ndarray
    p_values: np.ndarray | None
    decisions: np.ndarray | None


class Evaluated(NamedTuple):
    """What one selection and score are worth on test images.

    Attributes:
      scored: the maps and scores of the images.
      calibration: what the score's values mean; None where no images were held out.
      evaluation: the metrics, and the reasons for those that are missing.
    """

    scored: Scored
    calibration: Calibration | None
    evaluation: Evaluation


class Model:
    """A detector with all that it learned.

    Args:
      detector: of any family.
      selections: by name: `last`, and `best` where images were held out.
      size: (height, width) that images are resized to, pixels.
      score: the one that decides.
      batch_size: images at once.
      about: what is stored with it, JSON-able: what `jaxflow.load` builds the detector from.

    Example:
      >>> import jaxflow  # doctest: +SKIP
      >>> model = jaxflow.load("runs/tiles")  # doctest: +SKIP
      >>> model.score("photos").anomaly_scores  # doctest: +SKIP
    """

    def __init__(
        self,
        detector: Detector,
        selections: Mapping[str, Selection],
        *,
        size: tuple[int, int],
        score: str,
        batch_size: int = 32,
        about: Mapping[str, Any] | None = None,
    ):
        self.detector = detector
        # Read-only: what was placed on the devices would not follow a change.
        self.selections: Mapping[str, Selection] = types.MappingProxyType(dict(selections))
        self.size = size
        self.deciding_score = score
        self.about = dict(about or {})
        self.batch_size = batch_size
        self._scorer = Scorer(detector, batch_size)
        self._placed: dict[tuple[str, ...], Any] = {}

    @property
    def usual(self) -> str:
        """Return the selection that is used unless another is named: `best` where there is one."""
        return "best" if "best" in self.selections else "last"

    def with_selections(self, selections: Mapping[str, Selection]) -> "Model":
        """Return the same detector with other variables."""
        return Model(
            self.detector,
            selections,
            size=self.size,
            score=self.deciding_score,
            batch_size=self.batch_size,
            about=self.about,
        )

    def named(self, selection: str | None) -> str:
        """Return the name of a selection: the one asked for, or `usual`.

        Raises:
          InputError: if there is none of that name.
        """
        name = selection or self.usual
        if name not in self.selections:
            raise InputError(
                f"no selection {name!r}: no images were held out of training; there is "
                f"{', '.join(self.selections)}"
            )
        return name

    def score(
        self, images: Images, *, selection: str | None = None, decision: Decision | None = None
    ) -> Result:
        """Score images; what else is scored makes no difference.

        Args:
          images: u8[n, h, w, 3] or u8[h, w, 3]; the path of an image or of a folder of images; or
            several paths. They are resized to `size`.
          selection: a key of `selections`; None: `usual`.
          decision: what decides in place of the model's score and thresholds.

        Raises:
          InputError: if there is no image, one cannot be read, or a choice is wrong.
        """
        name, chosen = self.named(selection), decision or Decision()
        score, calibration = self.calibration(name, chosen)
        names, batches = read_inputs(images, self.size, self.batch_size)
        scored = self._all([name], batches, len(names))[name][score]
        threshold, scores = calibration.image_threshold, scored.anomaly_score
        return Result(
            names,
            scored.anomaly_map,
            scores,
            calibration.p_values(scores) if calibration.image_scores else None,
            None if threshold is None else scores >= threshold,
        )

    def scores(self, images: np.ndarray | Split, selections: Iterable[str] | None = None) -> Scores:
        """Give every score of the detector.

        Args:
          images: u8[n, *size, 3] as they are, or a split, read as it goes; n at least 1.
          selections: which; None: all. The encoder runs once for all of them.

        Returns:
          For each selection and score the anomaly maps f32[n, h, w], in a nameless file where they
          take more than 1 GiB, and scores f32[n].
        """
        names = self.selections if selections is None else selections
        if isinstance(images, np.ndarray):
            return self._all(names, [images], len(images))
        from jaxflow.data.pipeline import read_in_batches  # It imports grain, which takes a second.

        batches = read_in_batches(images, self.size, self.batch_size)
        return self._all(names, (read[valid] for read, valid in batches), len(images))

    def evaluate(
        self,
        test: AnomalyDataset | Split,
        *,
        scores: Collection[str] | None = None,
        decision: Decision | None = None,
        note: Callable[[str], object] | None = None,
    ) -> dict[tuple[str, str], Evaluated]:
        """Judge every selection and score on test images.

        Args:
          test: a data set's test images, or any split.
          scores: which; None: all.
          decision: what decides in place of the model's score and thresholds.
          note: called with one line if regions of masks vanish at the model's size.

        Returns:
          (selection, score) -> figures.

        Raises:
          InputError: if there are no test images, or an image or a choice is wrong.
        """
        from jaxflow.data.pipeline import read_masks

        split = test.test if isinstance(test, AnomalyDataset) else test
        if split is None or not len(split):
            raise InputError("there are no test images, so there is nothing to evaluate")
        masks = read_masks(split, self.size, note=note)
        found = {}
        for name, by_score in self.scores(split).items():
            for score, scored in by_score.items():
                if scores is not None and score not in scores:
                    continue
                calibration = self._meaning(name, score, decision or Decision())
                evaluation = evaluate_scores(
                    split.labels,
                    scored.anomaly_score,
                    masks=masks,
                    anomaly_maps=scored.anomaly_map,
                    image_threshold=calibration.image_threshold if calibration else None,
                    pixel_threshold=calibration.pixel_threshold if calibration else None,
                    defects=split.defects,
                )
                if calibration:
                    alarms = calibration.false_alarms(split.labels == 0, *scored)
                    evaluation.metrics.update(alarms)
                found[name, score] = Evaluated(scored, calibration, evaluation)
        return found

    def _meaning(self, selection: str, score: str, decision: Decision) -> Calibration | None:
        """Return what values of a score mean; a user's choice counts for the deciding score."""
        deciding, calibration = self.calibration(selection, decision)
        others = self.selections[selection].calibrations
        return calibration if score == deciding else others.get(score)

    def _all(self, names: Iterable[str], batches: Iterable[np.ndarray], count: int) -> Scores:
        key = tuple(names)
        if key not in self._placed:
            self._placed[key] = self._scorer.place(
                {name: self.selections[name].variables for name in key}
            )
        return self._scorer.all(self._placed[key], batches, count)

    def calibration(self, selection: str, decision: Decision) -> tuple[str, Calibration]:
        """Return the score that decides, and what its values mean, as a user has chosen them.

        Raises:
          InputError: if there is no such score, or no images were held out for a quantile.
        """
        decision.check(self.detector.scores)
        score = decision.score or self.deciding_score
        calibrations = self.selections[selection].calibrations
        return score, calibrations.get(score, Calibration()).decided(decision)

    def save(self, folder: str | Path) -> Path:
        """Write the model: the variables as safetensors, all else as JSON; return the folder.

        What was there before is replaced, once all is written.

        Raises:
          OSError: if it cannot be written.
        """
        target = Path(folder)
        with replacing(target, "another process") as new:
            sums = {}
            for name, selection in self.selections.items():
                sums[name] = write_variables(new / f"{name}.safetensors", selection.variables)
            write_sealed_json(
                new / _ABOUT,
                {
                    "about": self.about,
                    "size": self.size,
                    "score": self.deciding_score,
                    "batch_size": self.batch_size,
                    "selections": {
                        name: {
                            "step": selection.step,
                            "validation_nll": selection.validation_nll,
                            "file_sha256": sums[name],
                            "calibrations": {
                                score: dataclasses.asdict(calibration)
                                for score, calibration in selection.calibrations.items()
                            },
                        }
                        for name, selection in self.selections.items()
                    },
                },
            )
        return target


def is_model(folder: Path) -> bool:
    """Tell whether a folder holds a model."""
    return (folder / _ABOUT).exists()


def forget(folder: Path) -> None:
    """Make a folder hold no model any more, as when training goes on."""
    (folder / _ABOUT).unlink(missing_ok=True)


def read_about(folder: Path) -> dict[str, Any]:
    """Read what a model's folder says of it; its `about` is what the detector is built from.

    Raises:
      InputError: if the folder holds no model, or it is damaged.
    """
    if not is_model(folder):
        raise InputError(f"{folder} holds no model (no {_ABOUT})")
    return read_sealed_json(folder / _ABOUT)


def read_model(folder: Path, detector: Detector, batch_size: int | None = None) -> Model:
    """Read a model whose detector is built.

    Args:
      folder: of `Model.save`.
      detector: as its `about` describes it.
      batch_size: images at once; None: as it was saved.

    Raises:
      InputError: if a file is missing, damaged or of another detector.
    """
    content = read_about(folder)
    size = (content["size"][0], content["size"][1])
    shapes = jax.eval_shape(lambda: detector.init(jax.random.key(0), size))
    selections = {
        name: Selection(
            each["step"],
            read_variables(folder / f"{name}.safetensors", each["file_sha256"], shapes),
            {score: Calibration(**value) for score, value in each["calibrations"].items()},
            each.get("validation_nll"),
        )
        for name, each in content["selections"].items()
    }
    return Model(
        detector,
        selections,
        size=size,
        score=content["score"],
        batch_size=batch_size or content["batch_size"],
        about=content["about"],
    )
