r"""Score images with a trained run.

    python -m jaxflow.predict --workdir=runs/tiles --input=photos \
        --output=scored

Writes into the output folder scores.csv (score and decision of each image) and, for each image, a
picture with heat map and predicted mask. --input takes images and folders, separated by commas. An
image that cannot be read is reported and the rest go on; the exit code is then 1.
"""

if __name__ == "__main__":
    from jaxflow.experiments import signals

    signals.end_at_once()  # The imports below take seconds.

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from absl import flags

from jaxflow.data.image import decode_image, resize_image
from jaxflow.data.image_file import printable
from jaxflow.data.scan import Scan, scan
from jaxflow.detectors import Scored
from jaxflow.errors import InputError
from jaxflow.evaluation.calibration import Calibration, Scale
from jaxflow.experiments import command_line
from jaxflow.experiments.command_line import say, warn
from jaxflow.experiments.load import load
from jaxflow.experiments.run_folder import make_folder
from jaxflow.files import check_outputs, check_writable, explain, locked, remove_parts
from jaxflow.reports.pictures import ScoredImage, panel, save_figure
from jaxflow.reports.tables import ScoresFile

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


def _main(values: flags.FlagValues) -> int:
    command_line.required(values, "workdir", "input", "output")
    output = Path(values.output)
    paths = find_images(values.input, output)
    names = name_images(paths)
    check_writable("output", output)
    outputs = [output / SCORES, *(_picture(output, name) for name in names.values())]
    check_outputs("output", outputs, paths)
    decision = command_line.decision(values)
    model = load(values.workdir, weights=values.weights)
    selection = model.named(values.selection)
    score, calibration = model.calibration(selection, decision)
    if calibration.image_threshold is None:
        warn("no images were held out of training: scores come without decisions and pictures")
    elif calibration.scale is None:
        warn("no images were held out of training: there are no pictures")
    make_folder("output", output)
    with locked(output, "another prediction"):
        remove_parts(output)
        scale = calibration.scale if values.pictures else None
        read, undrawn = 0, 0
        with _table(output, score, calibration) as rows:
            for paths_read, images in _chunks(list(names), model.size, model.batch_size):
                scored = model.scores(images, [selection])[selection][score]
                labels = [names[path] for path in paths_read]
                _append(rows, labels, scored, calibration)
                read += len(labels)
                if scale:
                    undrawn += _draw_all(output, labels, images, scored, scale)
    failed = len(paths) - read
    undrawn_too = f", {undrawn} pictures could not be written" if undrawn else ""
    if promise := calibration.promise():
        say(promise)
    say(f"{read} images scored, {failed} could not be read{undrawn_too}: {output / SCORES}")
    return 1 if failed or undrawn else 0


def _table(output: Path, score: str, calibration: Calibration) -> ScoresFile:
    decided = [] if calibration.image_threshold is None else [score]
    return ScoresFile(output / SCORES, [score], decided)


def _append(
    rows: ScoresFile, names: Sequence[str], scored: Scored, calibration: Calibration
) -> None:
    threshold, scores = calibration.image_threshold, scored.anomaly_score
    rows.append(names, [scores], [] if threshold is None else [scores >= threshold])


def _draw_all(
    output: Path, names: Sequence[str], images: np.ndarray, scored: Scored, scale: Scale
) -> int:
    """Draw a picture of each image; count those that could not be written."""
    undrawn = 0
    for name, image, *values in zip(names, images, *scored, strict=True):
        undrawn += not _draw(output, ScoredImage(name, image, values[0], float(values[1])), scale)
    return undrawn


def find_images(inputs: Sequence[str], output: Path) -> list[Path]:
    """List the images named, and those in the folders named, at any depth.

    A folder that can be reached in several ways is read once. A link to an image counts as another
    image. Hidden files and folders count only where they are named. A line says what else is passed
    over in a folder.

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


def _draw(output: Path, image: ScoredImage, scale: Scale) -> bool:
    """Draw a picture; say what keeps it from being written, which costs this one only."""
    try:
        save_figure(_picture(output, image.name), panel(image, scale))
    except OSError as error:
        warn(f"no picture of {image.name}: {explain(error)}")
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
