"""The likelihood of the held-out normal images."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import numpy as np

from jaxflow.detectors import Likelihood, Variables
from jaxflow.parallel import BATCH, PMAP, Devices, padded_batches
from jaxflow.training.step import TrainState, make_validation_step


def make_validation(
    nats: Callable[[Variables, Sequence[jax.Array]], jax.Array],
    take: Callable[[np.ndarray], Any],
    count: int,
    batch_size: int,
    devices: Devices = PMAP,
) -> Callable[[TrainState], float]:
    """Return a function that gives a replicated state's validation loss, nats per dimension.

    Every process looks at all held-out images, so all come to the same figure.

    Args:
      nats: those of each image, per dimension; see `Likelihood`.
      take: gives the feature maps of some images by their indices.
      count: number of held-out images.
      batch_size: images a step over this host's devices, a multiple of their number.
      devices: run the step.
    """
    step = make_validation_step(nats, devices)

    def validate(state: TrainState) -> float:
        total = 0.0
        for indices, valid in padded_batches(count, batch_size):
            per_image = devices.gather(step(state, devices.shard(take(indices))), BATCH)
            total += float(per_image[valid].sum(dtype=np.float64))
        return total / count

    return validate


def mean_nll(
    likelihood: Likelihood,
    variables: Variables,
    batches: Iterable[tuple[Sequence[jax.Array], np.ndarray]],
) -> float:
    """Return the mean negative log-likelihood of images, nats per dimension.

    Args:
      likelihood: of a detector.
      variables: of the same detector.
      batches: (maps, valid) of at least one image, as passes take them.
    """
    nats = jax.jit(likelihood.nats)
    per_image = [np.asarray(nats(variables, maps))[valid] for maps, valid in batches]
    return float(np.concatenate(per_image).mean(dtype=np.float64))
