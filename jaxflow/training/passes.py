"""Run a detector's passes over the feature maps of normal images."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxflow.detectors import Detector, Pass, Variables


def run_passes(
    passes: Sequence[Pass],
    selections: Mapping[str, Variables],
    batches: Iterable[tuple[Sequence[jax.Array], np.ndarray]],
    held_out: bool = False,
) -> dict[str, Variables]:
    """Run passes for several selections in one go, so that the maps are computed only once.

    Args:
      passes: of the detector; none leaves everything as it is, and asks for no batch.
      selections: name -> variables.
      batches: (maps, valid) of the normal images, at least one.
      held_out: run those passes that look at held-out images; else those that look at others.

    Returns:
      name -> variables with what was learned.
    """
    passes = [each for each in passes if each.held_out == held_out]
    if not passes:
        return dict(selections)
    carries = {name: [each.start(v) for each in passes] for name, v in selections.items()}
    for maps, valid in batches:
        for name, variables in selections.items():
            carries[name] = [
                each.update(variables, carry, maps, valid)
                for each, carry in zip(passes, carries[name], strict=True)
            ]
    learned = dict(selections)
    for name, found in carries.items():
        for each, carry in zip(passes, found, strict=True):
            learned[name] = each.finish(learned[name], carry)
    return learned


def learn_after(
    detector: Detector,
    selections: Mapping[str, Variables],
    normal: Callable[[], Iterable[Any]],
    held_out: Callable[[], Iterable[Any]] | None,
) -> dict[str, Variables]:
    """Run all passes after training, each over the images that it looks at.

    Args:
      detector: trained.
      selections: name -> variables.
      normal: gives the batches of the training images, as `run_passes` takes them.
      held_out: those of the held-out images; None: there are none, and the training images serve.

    Returns:
      name -> variables with what was learned.
    """
    learned = run_passes(detector.after, selections, normal())
    return run_passes(detector.after, learned, (held_out or normal)(), held_out=True)
