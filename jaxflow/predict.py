"""Score images with a trained run.

    python -m jaxflow.predict --workdir=runs/tiles --input=photos --output=scored

Writes into the output folder scores.csv (score and decision of each image) and, for each image, a
heat map with the predicted mask. --input takes images and folders, separated by commas. An image
that cannot be read is reported and the rest go on; the exit code is then 1.
"""

import collections
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from absl import flags

from jaxflow import command_line
from jaxflow.command_line import say, warn
from jaxflow.data.image import decode_image, is_image_file, resize_image
from jaxflow.errors import InputError
from jaxflow.evaluation.calibration import Calibration, read_calibrations
from jaxflow.evaluation.pictures import Example, panel, save_figure
from jaxflow.evaluation.scoring import Scorer
from jaxflow.evaluation.tables import write_scores_csv
from jaxflow.experiment import (
    check_facts,
    image_size,
    load_run,
    load_selections,
    make_detector,
    make_encoder,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    return command_line.run(_main, _define, __doc__, argv)


def _define(values: flags.FlagValues) -> None:
    flags.DEFINE_string("workdir", None, "folder of a trained run", flag_values=values)
    flags.DEFINE_list("input", None, "images and folders of images", flag_values=values)
    flags.DEFINE_string("output", None, "folder for the results", flag_values=values)
    flags.DEFINE_enum(
        "selection",
        None,
        ["last", "best"],
        "which parameters; default: best, or last where no images were held out",
        flag_values=values,
    )
    flags.DEFINE_bool("pictures", True, "draw a picture an image", flag_values=values)
    flags.DEFINE_string(
        "weights", None, "where the encoder's weights lie now, if moved", flag_values=values
    )


def _main(values: flags.FlagValues) -> int:
    command_line.required(values, "workdir", "input", "output")
    paths = find_images(values.input)
    names = labels(paths)
    workdir, output = Path(values.workdir), Path(values.output)
    config, facts = load_run(workdir)
    if values.weights:
        config.encoder.weights = values.weights
    encoder = make_encoder(config)
    check_facts(workdir, facts, {**facts, "encoder_sha256": encoder.sha256})
    detector = make_detector(config, encoder)
    selections = load_selections(workdir, config, detector, warn)
    name = values.selection or ("best" if "best" in selections else "last")
    if name not in selections:
        raise InputError(f"{workdir} has no {name} parameters: no images were held out")
    score = config.evaluation.score
    calibration = read_calibrations(workdir / "calibration.json").get(name, {}).get(score)
    if calibration is None:
        warn("no images were held out in training: scores come without decisions and pictures")
    scorer = Scorer(detector, {name: selections[name].variables}, (score,))
    output.mkdir(parents=True, exist_ok=True)
    read, scores = [], []
    for chunk, images in _chunks(paths, image_size(config), config.evaluation.batch_size):
        maps = scorer(images)[name][score]
        read += chunk
        scores += maps.max((1, 2)).tolist()
        if calibration and values.pictures:
            for path, image, anomaly_map in zip(chunk, images, maps, strict=True):
                _draw(output, names[path], image, anomaly_map, calibration)
    _write(output, [names[path] for path in read], scores, score, calibration)
    failed = len(paths) - len(read)
    say(f"{len(read)} images scored, {failed} could not be read: {output / 'scores.csv'}")
    return 1 if failed else 0


def find_images(inputs: Sequence[str]) -> list[Path]:
    """List the images named, and those in the folders named, at any depth.

    Raises:
      InputError: if a path does not exist or a folder holds no image.
    """
    paths: list[Path] = []
    for name in inputs:
        path = Path(name)
        if path.is_dir():
            found = sorted(p for p in path.rglob("*") if p.is_file() and is_image_file(p))
            if not found:
                raise InputError(f"--input {path}: the folder holds no image")
            paths += found
        elif path.is_file():
            paths.append(path)
        else:
            raise InputError(f"--input {path}: no such file or folder")
    return list(dict.fromkeys(paths))


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


def labels(paths: Sequence[Path]) -> dict[Path, str]:
    """Name each image by its file, and by its whole path where two files bear one name."""
    count = collections.Counter(path.name for path in paths)
    return {
        path: path.name if count[path.name] == 1 else path.as_posix().lstrip("./") for path in paths
    }


def _draw(
    output: Path, name: str, image: np.ndarray, anomaly_map: np.ndarray, calibration: Calibration
) -> None:
    example = Example(name, image, anomaly_map, float(anomaly_map.max()))
    save_figure(output / f"{name.replace('/', '_')}.png", panel(example, calibration.scale))


def _write(
    output: Path,
    names: Sequence[str],
    scores: Sequence[float],
    score: str,
    calibration: Calibration | None,
) -> None:
    values = np.asarray(scores, np.float32)
    decisions = {score: values >= calibration.image_threshold} if calibration else None
    write_scores_csv(output / "scores.csv", names, None, None, {score: values}, decisions)


if __name__ == "__main__":
    sys.exit(main())
