"""The picture of a run's latents, from a few of its test images."""

import jax
import numpy as np
from matplotlib.figure import Figure

from jaxflow.data.example import Split
from jaxflow.data.pipeline import read_masks
from jaxflow.detectors.clouds import check_latents, draw_clouds
from jaxflow.errors import InputError
from jaxflow.model import Model
from jaxflow.training import encoded

# Test images of each class, at most; together they are one batch.
_OF_A_CLASS = 16


def latents_figure(model: Model, test: Split) -> Figure:
    """Draw feature vectors of test images, their latents, and sampled features.

    Args:
      model: a flow, with the selection that is usual.
      test: images of both classes, of which some are taken.

    Raises:
      InputError: if the model is no flow or has no inverse, or an anomalous image has no mask.
    """
    from jaxflow.reports.clouds_figure import clouds_figure  # It imports scikit-learn, a second.

    detector = check_latents(model.detector)
    chosen = test.subset(_spread(test.labels))
    masks = read_masks(chosen, model.size)
    if masks is None:
        raise InputError("--latents: an anomalous image has no mask, so no position is known")
    maps, valid = next(encoded(detector.encoder, chosen, model.size))
    assert valid.all()
    variables = model.selections[model.usual].variables
    return clouds_figure(draw_clouds(detector, variables, maps, masks, jax.random.key(0)))


def _spread(labels: np.ndarray) -> np.ndarray:
    """Return the numbers of some images of each class, evenly spread."""
    kinds = [np.flatnonzero(labels == kind) for kind in (0, 1)]
    return np.concatenate(
        [kind[np.linspace(0, len(kind) - 1, min(len(kind), _OF_A_CLASS)).astype(int)]
         for kind in kinds]
    )  # fmt: skip
