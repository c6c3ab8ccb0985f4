r"""Score images with a trained run.

    python -m jaxflow.predict --workdir=runs/tiles --input=photos \
        --output=scored

Writes into the output folder scores.csv (score and decision of each image) and, for each image, a
picture with heat map and predicted mask. --input takes images and folders, separated by commas. An
image that cannot be read is reported and the rest go on; the exit code is then 1.
"""

if __name__ == "__main__":
    from jaxflow import signals

    signals.end_at_once()  # The imports below take seconds.

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import flags

from jaxflow import command_line
from jaxflow.command_line import say, warn
from jaxflow.data.image import decode_image, resize_image
from jaxflow.data.image_file import printable
from jaxflow.data.scan import Scan, scan
from jaxflow.errors import InputError
from jaxflow.evaluation.calibration import (
    Calibration,
    Decision,
    check_steps,
    read_calibrations,
)
from jaxflow.evaluation.pictures import Example, Scale, panel, save_figure
from jaxflow.evaluation.scoring import Scorer
from jaxflow.evaluation.tables import ScoresFile
from jaxflow.experiment import (
    image_size,
    load_selections,
    make_detector,
    make_encoder,
    reported_scores,
)
from jaxflow.files import check_outputs, check_writable, explain, locked, remove_parts
from jaxflow.run_folder import CALIBRATION, check_facts, load_run, make_folder

SCORES = "scores.csv"
_LONGEST_NAME = 255  # Bytes, in the file systems of today.


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    return command_line.run(_main, _define, __doc__, argv)


def _define(values: flags.FlagValues) -> None:
    command_line.define_trained_run(values)
    command_line.define_selection(values)
    command_line.define_decision(values)
    flags.DEFINE_list(
        "input", None, "images and folders of images, separated by commas", flag_values=values
    )
    flags.DEFINE_string("output", None, "folder for the results", flag_values=values)
    flags.DEFINE_bool("pictures", True, "draw a picture of each image", flag_values=values)


class _Model(NamedTuple):
    """A trained run, ready to score; `selection` and `score` name the maps that count."""

    scorer: Scorer
    selection: str
    score: str
    calibration: Calibration
    size: tuple[int, int]
    batch_size: int

    def anomaly_maps(self, images: np.ndarray) -> np.ndarray:
        """Score images u8[n, h, w, 3]: f32[n, h, w]."""
        return self.scorer(images)[self.selection][self.score]


def _main(values: flags.FlagValues) -> int:
    command_line.required(values, "workdir", "input", "output")
    output = Path(values.output)
    paths = find_images(values.input, output)
    names = name_images(paths)
    check_writable("output", output)
    outputs = [output / SCORES, *(_picture(output, name) for name in names.values())]
    check_outputs("output", outputs, paths)
    decision = command_line.decision(values)
    model = _load(Path(values.workdir), values.selection, values.weights, decision)
    make_folder("output", output)
    with locked(output, "another prediction"):
        remove_parts(output)
        read, undrawn = _score(model, output, names, draw=values.pictures)
    failed = len(paths) - read
    undrawn_too = f", {undrawn} pictures could not be written" if undrawn else ""
    if promise := model.calibration.promise():
        say(promise)
    say(f"{read} images scored, {failed} could not be read{undrawn_too}: {output / SCORES}")
    return 1 if failed or undrawn else 0


def _score(model: _Model, output: Path, names: dict[Path, str], *, draw: bool) -> tuple[int, int]:
    """Score images and write each result at once; count the images read, the pictures lacking."""
    read, undrawn = 0, 0
    threshold, scale = model.calibration.image_threshold, model.calibration.scale
    columns = [model.score]
    with ScoresFile(output / SCORES, columns, [] if threshold is None else columns) as rows:
        for chunk, images in _chunks(list(names), model.size, model.batch_size):
            maps = model.anomaly_maps(images)
            scores = maps.max((1, 2))
            decisions = [] if threshold is None else [scores >= threshold]
            rows.append([names[path] for path in chunk], [scores], decisions)
            read += len(chunk)
            if scale and draw:
                for path, image, anomaly_map in zip(chunk, images, maps, strict=True):
                    undrawn += not _draw(output, names[path], image, anomaly_map, scale)
    return read, undrawn


def _load(workdir: Path, selection: str | None, weights: str | None, decision: Decision) -> _Model:
    """Load a run; the other arguments are the flags."""
    config, facts = load_run(workdir)
    decision.check(reported_scores(config))
    if weights:
        config.encoder.weights = weights
    encoder = make_encoder(config)
    check_facts(workdir, facts, {**facts, "encoder_sha256": encoder.sha256})
    detector = make_detector(config, encoder)
    selections = load_selections(workdir, config, detector, warn)
    name = selection or ("best" if "best" in selections else "last")
    if name not in selections:
        raise InputError(
            f"--selection {name}: {workdir} has none, for no images were held out of training; "
            "leave the flag out"
        )
    score = decision.score or config.evaluation.score
    batch_size = config.evaluation.batch_size
    calibrations = read_calibrations(workdir / CALIBRATION)
    check_steps(workdir, {name: selections[name].step}, calibrations)
    calibration = calibrations.get(name, {}).get(score, Calibration()).decided(decision)
    if calibration.image_threshold is None:
        warn("no images were held out of training: scores come without decisions and pictures")
    elif calibration.scale is None:
        warn("no images were held out of training: there are no pictures")
    scorer = Scorer(detector, {name: selections[name].variables}, (score,), batch_size)
    return _Model(scorer, name, score, calibration, image_size(config), batch_size)


def find_images(inputs: Sequence[str], output: Path) -> list[Path]:
    """List the images named, and those in the folders named, at any depth.

    Each image is listed once for each of its names: a folder that can be reached in several ways
    is read once, and a link to an image is an image of its own. Hidden files and folders count only
    where they are named. What else is passed over in a folder is told in a line.

    Args:
      inputs: images and folders.
      output: folder of the results; what lies in it is no input.

    Raises:
      InputError: if a path does not exist, a folder holds no image, or it is the output's.
    """
    images: dict[str, Path] = {}
    for name in inputs:
        for path in _images_of(Path(name), output):
            images.setdefault(os.path.join(os.path.realpath(path.parent), path.name), path)
    return list(images.values())


def _images_of(path: Path, output: Path) -> list[Path]:
    """List the images of one input."""
    where = f"--input {printable(path)}"
    if os.path.isdir(path):
        place = path.resolve()
        if output.resolve() in (place, *place.parents):
            raise InputError(
                f"--output {printable(output)}: give a folder other than that of {where}, and none "
                "above it"
            )
        found = _without_results(scan(path), path, output)
        if not found.images:
            passed = "".join(f"; {note}" for note in found.notes())
            raise InputError(f"{where}: the folder holds no image{passed}")
        for note in found.notes():
            warn(note)
        return found.images
    if os.path.isfile(path):
        return [path]
    if os.path.exists(path):
        raise InputError(f"{where}: a device or a pipe, not an image file")
    raise InputError(f"{where}: no such file or folder")


def _without_results(found: Scan, folder: Path, output: Path) -> Scan:
    """Leave out what lies in the output, and name the links that lead there."""
    results, root = output.resolve(), folder.resolve()

    def outside(path: Path) -> bool:
        return results not in (root / path.relative_to(folder)).parents

    images: list[Path] = []
    linked: list[Path] = []
    for path in filter(outside, found.images):
        (linked if results in path.resolve().parents else images).append(path)
    return Scan(
        images=images,
        others=[path for path in found.others if outside(path)],
        hidden=[path for path in found.hidden if outside(path)],
        broken=[(path, why) for path, why in found.broken if outside(path)]
        + [(path, "a link to a result in the output folder") for path in linked],
    )


def _chunks(
    paths: Sequence[Path], size: tuple[int, int], length: int
) -> Iterator[tuple[list[Path], np.ndarray]]:
    """Read images in groups; report and pass over those that cannot be read."""
    chunk: list[Path] = []
    images: list[np.ndarray] = []
    for path in paths:
        try:
            images.append(resize_image(decode_image(path), size))
            chunk.append(path)
        except InputError as error:
            warn(f"{error}; passed over")
        if len(chunk) == length:
            yield chunk, np.stack(images)
            chunk, images = [], []
    if chunk:
        yield chunk, np.stack(images)


def name_images(paths: Sequence[Path]) -> dict[Path, str]:
    """Name each image by its path below the deepest folder that holds them all."""
    root = os.path.commonpath([Path(os.path.abspath(path)).parent for path in paths])
    return {path: Path(os.path.abspath(path)).relative_to(root).as_posix() for path in paths}


def _draw(
    output: Path, name: str, image: np.ndarray, anomaly_map: np.ndarray, scale: Scale
) -> bool:
    """Draw a picture; say what keeps it from being written, which costs this one only."""
    example = Example(name, image, anomaly_map, float(anomaly_map.max()))
    try:
        save_figure(_picture(output, name), panel(example, scale))
    except OSError as error:
        warn(f"no picture of {name}: {explain(error)}")
        return False
    return True


def _picture(output: Path, name: str) -> Path:
    """Name the picture of an image; a name that would be too long ends in its hash."""
    path = output / f"{name}.png"
    if len(os.fsencode(path.name)) <= _LONGEST_NAME:
        return path
    start = os.fsencode(path.name)[: _LONGEST_NAME - 21].decode(errors="ignore")
    return path.with_name(f"{start}~{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}.png")


if __name__ == "__main__":
    signals.leave(main())
