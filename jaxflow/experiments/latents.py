"""The picture of a run's latents, from a few of its test images."""

import jax
from matplotlib.figure import Figure

from jaxflow.data.example import Split
from jaxflow.data.pipeline import read_masks
from jaxflow.detectors.clouds import check_latents, draw_clouds
from jaxflow.errors import InputError
from jaxflow.model import Model
from jaxflow.reports.run_curves import spread
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
    chosen = test.subset(spread(test.labels, _OF_A_CLASS))
    masks = read_masks(chosen, model.size)
    if masks is None:
        raise InputError("--latents: an anomalous image has no mask, so no position is known")
    maps, valid = next(encoded(detector.encoder, chosen, model.size))
    assert valid.all()
    variables = model.selections[model.usual].variables
    return clouds_figure(draw_clouds(detector, variables, maps, masks, jax.random.key(0)))
