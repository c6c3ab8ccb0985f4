r"""Score images with a trained run.

    python -m jaxflow.predict --workdir=runs/tiles --input=photos \
        --output=scored

Writes into the output folder scores.csv (score and decision of each image) and, for each image, a
picture with heat map and predicted mask. --input takes images and folders, separated by commas. An
image that cannot be read is reported and the rest go on; the exit code is then 1.
"""

if __name__ == "__main__":
    from jaxflow import cli

    cli.run("predict")  # It imports this module again, and ends the process.

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import flags

from jaxflow.detectors import Scored
from jaxflow.evaluation.calibration import Calibration, Scale
from jaxflow.experiments import command_line
from jaxflow.experiments.command_line import say, warn
from jaxflow.experiments.inputs import find_images, name_images, picture_path, read_chunks
from jaxflow.experiments.load import load
from jaxflow.experiments.run_folder import make_folder
from jaxflow.files import check_outputs, check_writable, explain, locked, remove_parts
from jaxflow.reports.pictures import ScoredImage, panel, save_figure
from jaxflow.reports.tables import ScoresFile

SCORES = "scores.csv"


def _define(values: flags.FlagValues) -> None:
    command_line.define_trained_run(values)
    command_line.define_selection(values)
    command_line.define_decision(values)
    flags.DEFINE_list(
        "input", None, "images and folders of images, separated by commas", flag_values=values
    )
    flags.DEFINE_string("output", None, "folder for the results", flag_values=values)
    flags.DEFINE_bool("pictures", True, "draw a picture of each image", flag_values=values)


@command_line.command(_define, __doc__)
def main(values: flags.FlagValues) -> int:
    """Run the command; return its exit code."""
    command_line.required(values, "workdir", "input", "output")
    output = Path(values.output)
    paths = find_images(values.input, output)
    names = name_images(paths)
    check_writable("output", output)
    outputs = [output / SCORES, *(picture_path(output, name) for name in names.values())]
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
        decided = [] if calibration.image_threshold is None else [score]
        with ScoresFile(output / SCORES, [score], decided) as rows:
            for paths_read, images in read_chunks(list(names), model.size, model.batch_size):
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


def _draw(output: Path, image: ScoredImage, scale: Scale) -> bool:
    """Draw a picture; say what keeps it from being written, which costs this one only."""
    try:
        save_figure(picture_path(output, image.name), panel(image, scale))
    except OSError as error:
        warn(f"no picture of {image.name}: {explain(error)}")
        return False
    return True
