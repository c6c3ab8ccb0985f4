"""Run a detector's passes over the feature maps of normal images."""

from collections.abc import Iterable, Mapping, Sequence

import jax
import numpy as np

from jaxflow.detectors import Pass, Variables


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
