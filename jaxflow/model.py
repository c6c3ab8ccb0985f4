"""A trained detector to hold: it scores images, and is kept in a folder."""

import dataclasses
import types
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax
import jax
import numpy as np
import safetensors.numpy

from jaxflow.data.image import decode_image, resize_image
from jaxflow.data.scan import scan
from jaxflow.detectors import Detector, Variables
from jaxflow.detectors.scorer import Scorer, Scores
from jaxflow.errors import InputError
from jaxflow.evaluation.calibration import Calibration, Decision
from jaxflow.files import (
    explain,
    file_sha256,
    read_sealed_json,
    replacing,
    write_atomically,
    write_sealed_json,
)

# What a model's folder holds beside one `<selection>.safetensors` a selection.
_ABOUT = "model.json"


class Selection(NamedTuple):
    """Variables of a detector that are reported.

    Attributes:
      step: batches of images taken; 0 where nothing is trained by gradient.
      variables: of the detector, with all that its passes learned.
      calibrations: score -> what its values mean; {} where no images were held out.
    """

    step: int
    variables: Variables
    calibrations: Mapping[str, Calibration]


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
        self._placed: dict[str, Any] = {}

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
        self,
        images: "np.ndarray | str | Path | Sequence[str | Path]",
        *,
        selection: str | None = None,
        decision: Decision | None = None,
    ) -> Result:
        """Score images; what else is scored makes no difference.

        Args:
          images: u8[n, h, w, 3] or u8[h, w, 3]; the path of an image or of a folder of images; or
            several paths. They are resized to `size`.
          selection: a key of `selections`; None: `usual`.
          decision: what decides in place of the model's score and thresholds.

        Raises:
          InputError: if an image cannot be read, or the selection or the score does not exist.
        """
        name, chosen = self.named(selection), decision or Decision()
        score, calibration = self.calibration(name, chosen)
        names, array = _read(images, self.size)
        scored = self.scores(array, [name])[name][score]
        threshold, scores = calibration.image_threshold, scored.anomaly_score
        return Result(
            names,
            scored.anomaly_map,
            scores,
            calibration.p_values(scores) if calibration.image_scores else None,
            None if threshold is None else scores >= threshold,
        )

    def scores(self, images: np.ndarray, selections: Iterable[str] | None = None) -> Scores:
        """Give every score of the detector for images u8[n, *size, 3] as they are.

        Args:
          images: n at least 1.
          selections: which; None: all. The encoder runs once for all of them.

        Returns:
          For each selection and score the anomaly maps f32[n, h, w] and scores f32[n].
        """
        names = tuple(self.selections if selections is None else selections)
        key = ",".join(names)
        if key not in self._placed:
            variables = {name: self.selections[name].variables for name in names}
            self._placed[key] = self._scorer.place(variables)
        return self._scorer(self._placed[key], images)

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
                file = f"{name}.safetensors"
                write_atomically(new / file, safetensors.numpy.save(_flat(selection.variables)))
                sums[name] = file_sha256(new / file)
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
            _read_variables(folder / f"{name}.safetensors", each["file_sha256"], shapes),
            {score: Calibration(**value) for score, value in each["calibrations"].items()},
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


def _flat(variables: Variables) -> dict[str, np.ndarray]:
    flat = flax.traverse_util.flatten_dict(variables, sep="/")
    return {name: np.asarray(value, order="C") for name, value in flat.items()}


def _read_variables(path: Path, sha256: str, shapes: Any) -> Variables:
    """Read variables of the shapes and dtypes that `init` gives."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(explain(error)) from error
    if file_sha256(path) != sha256:
        raise InputError(f"{path} is damaged: its content does not match its SHA-256")
    flat = safetensors.numpy.load(content)
    expected = flax.traverse_util.flatten_dict(shapes, sep="/")
    for name, leaf in expected.items():
        found = flat.get(name)
        if found is None or found.dtype != leaf.dtype or not _fits(found.shape, leaf.shape):
            got = "nothing" if found is None else f"{found.dtype}{list(found.shape)}"
            raise InputError(
                f"{path}: expected {leaf.dtype}{list(leaf.shape)} at {name}, got {got}"
            )
    variables = flax.traverse_util.unflatten_dict(flat, sep="/")
    return {collection: variables.get(collection, {}) for collection in ("params", "constants")}


def _fits(shape: Sequence[int], expected: Sequence[int]) -> bool:
    """Tell whether a shape is the one expected, where 0 is what grows with the data."""
    pairs = list(zip(shape, expected, strict=False))
    return len(shape) == len(expected) and all(a == b or b == 0 for a, b in pairs)


def _read(
    images: "np.ndarray | str | Path | Sequence[str | Path]", size: tuple[int, int]
) -> tuple[list[str], np.ndarray]:
    """Give the names of images and the images u8[n, *size, 3]."""
    if isinstance(images, np.ndarray):
        array = images[None] if images.ndim == 3 else images
        if array.ndim != 4 or array.shape[-1] != 3 or array.dtype != np.uint8 or not len(array):
            raise InputError(
                f"images must be u8[n, h, w, 3], n at least 1, got {array.dtype}{list(array.shape)}"
            )
        if array.shape[1:3] != size:
            array = np.stack([resize_image(image, size) for image in array])
        return [str(i) for i in range(len(array))], array
    paths = [images] if isinstance(images, str | Path) else images
    files = [file for path in paths for file in _files(Path(path))]
    if not files:
        raise InputError(f"no images in {', '.join(map(str, paths)) or 'an empty list'}")
    return [str(f) for f in files], np.stack([resize_image(decode_image(f), size) for f in files])


def _files(path: Path) -> list[Path]:
    return scan(path).images if path.is_dir() else [path]
