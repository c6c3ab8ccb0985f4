"""After training: the likelihood maxima that CFLOW's score needs, put into the checkpoints."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np

from jaxflow.data import AnomalyDataset, read_images
from jaxflow.detectors import MAXIMA, SCORES_WITH_MAXIMA, Detector
from jaxflow.evaluation.maxima import reference_maxima
from jaxflow.evaluation.scoring import Scorer
from jaxflow.experiment import FOLDERS, image_size, state_template
from jaxflow.training import Checkpoint, Checkpoints, TrainState

# The row of a report that has seen the test set: the public code's choice of the maxima.
TEST_MAXIMUM = "cflow_test_max"


def add_training_maxima(
    workdir: Path,
    config: ml_collections.ConfigDict,
    detector: Detector,
    dataset: AnomalyDataset,
    say: Callable[[str], None],
) -> None:
    """Add the training images' maxima to each checkpoint that is reported and lacks them.

    The images are taken without augmentation, the held-out ones are not among them. Of the latest
    checkpoints only the last is reported, unless all are kept for the oracle.

    Args:
      workdir: of a run that is trained to its end.
      config: of the run.
      detector: of the run; nothing is done where none of its scores needs maxima.
      dataset: of the run.
      say: takes lines for the user.

    Raises:
      InputError: if a checkpoint that all were kept for is damaged.
    """
    if not set(detector.scores) & set(SCORES_WITH_MAXIMA):
        return
    template = state_template(config, detector)
    for folder in FOLDERS.values():
        if not (workdir / folder).is_dir():
            continue
        with contextlib.closing(Checkpoints(workdir / folder, read_only=True)) as checkpoints:
            for checkpoint in _reported(checkpoints, template, config.training.keep_all):
                if checkpoint.maxima is None:
                    say(f"likelihood maxima of the training images, step {checkpoint.step}")
                    images = read_images(dataset.train, image_size(config))
                    states = {folder: checkpoint.state.variables}
                    found = reference_maxima(detector, states, images, config.evaluation.batch_size)
                    checkpoints.add_maxima(checkpoint.step, found[folder].tolist())


def _reported(
    checkpoints: Checkpoints, template: TrainState, all_kept: bool
) -> Iterator[Checkpoint]:
    if all_kept:
        yield from (checkpoints.restore(step, template) for step in checkpoints.steps)
    elif latest := checkpoints.restore_latest(template):
        yield latest


def score_by_own_maxima(
    detector: Detector, selections: Mapping[str, Any], images: np.ndarray, batch_size: int
) -> dict[str, np.ndarray]:
    """Score images by CFLOW's score relative to the maxima of these very images.

    What the public code does: a score then depends on what else is scored. For the record, not
    for use.

    Args:
      detector: encoder and flows.
      selections: name -> variables of the flows.
      images: u8[n, h, w, 3], the whole test set.
      batch_size: images at once.

    Returns:
      For each selection f32[n, h, w].
    """
    maxima = reference_maxima(detector, selections, images, batch_size)
    changed = {
        name: {**variables, "constants": {**variables["constants"], MAXIMA: maxima[name]}}
        for name, variables in selections.items()
    }
    (score,) = SCORES_WITH_MAXIMA
    maps = Scorer(detector, changed, (score,), batch_size)(images)
    return {name: by_score[score] for name, by_score in maps.items()}
