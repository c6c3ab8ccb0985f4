"""The likelihood of the held-out normal images."""

from collections.abc import Callable
from typing import Any

import numpy as np

from jaxflow.data import padded_batches
from jaxflow.parallel import replicate, shard, unshard
from jaxflow.training.step import Objective, TrainState, make_validation_step


def make_validation(
    objective: Objective,
    frozen: Any,
    take: Callable[[np.ndarray], Any],
    count: int,
    batch_size: int,
) -> Callable[[TrainState], float]:
    """Return a function that gives a replicated state's validation loss, nats per dimension.

    Every process looks at all held-out images, so all come to the same figure.

    Args:
      objective: of training.
      frozen: what it takes besides, on the host.
      take: gives the batch of some indices: images or kept feature maps.
      count: number of held-out images.
      batch_size: images a step over this host's devices, a multiple of their number.
    """
    step = make_validation_step(objective)
    on_devices = replicate(frozen)

    def validate(state: TrainState) -> float:
        total = 0.0
        for indices, valid in padded_batches(count, batch_size):
            per_image = unshard(step(state, on_devices, shard(take(indices))))
            total += float(per_image[valid].sum(dtype=np.float64))
        return total / count

    return validate
