"""How the learning rate changes in the course of training, by name."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxflow.training.step import Rate, constant_rate

_FLOOR = 1e-3
_WARMUP_FROM = 0.1


def cosine_warmup(epochs: int, steps_per_epoch: int, warmup_epochs: int) -> Rate:
    """Return a straight rise from a tenth of the learning rate, then a cosine down to 1/1000.

    `r(t) = 0.001 + 0.999 (1 + cos(pi t)) / 2` for the part t of the training that is done; the
    rise ends on that curve. The public code takes t at whole epochs, here it is that of each batch.

    Args:
      epochs: of the training.
      steps_per_epoch: batches of images in each.
      warmup_epochs: epochs of the rise; may be 0.

    Raises:
      ValueError: if the warm-up does not end before the training.

    Reference: arXiv 2107.12571, section 5.1.
    """
    _check_warmup(epochs, warmup_epochs)
    total, rise = epochs * steps_per_epoch, warmup_epochs * steps_per_epoch

    def cosine(step):
        return _FLOOR + (1.0 - _FLOOR) * 0.5 * (1.0 + jnp.cos(math.pi * step / total))

    def rate(step: jax.Array) -> jax.Array:
        risen = _WARMUP_FROM + (cosine(rise) - _WARMUP_FROM) * step / max(rise, 1)
        return jnp.where(step < rise, risen, cosine(step))

    return rate


def steps_warmup(epochs: int, steps_per_epoch: int, warmup_epochs: int) -> Rate:
    """Return a straight rise from a tenth of the learning rate, and its cut to a third, twice.

    The rate is multiplied by 0.33 after 70 % and after 90 % of the epochs.

    Args:
      epochs: of the training.
      steps_per_epoch: batches of images in each.
      warmup_epochs: epochs of the rise; may be 0.

    Raises:
      ValueError: if the warm-up does not end before the training.

    Source: MSFlow's public code (arXiv 2308.15300), with 100 epochs, 12 of them warm-up.
    """
    _check_warmup(epochs, warmup_epochs)
    total, rise = epochs * steps_per_epoch, warmup_epochs * steps_per_epoch

    def rate(step: jax.Array) -> jax.Array:
        part = jnp.minimum(step / rise, 1.0) if rise else 1.0
        cuts = jnp.where(step >= 0.7 * total, 0.33, 1.0) * jnp.where(step >= 0.9 * total, 0.33, 1.0)
        return (_WARMUP_FROM + (1.0 - _WARMUP_FROM) * part) * cuts

    return rate


def _check_warmup(epochs: int, warmup_epochs: int) -> None:
    if not 0 <= warmup_epochs < epochs:
        raise ValueError(
            f"warm-up epochs must be fewer than the {epochs} epochs of training and not negative, "
            f"got {warmup_epochs}"
        )


# Name -> function of (epochs, batches in each, warm-up epochs).
RATES: dict[str, Callable[[int, int, int], Rate]] = {
    "constant": lambda epochs, steps_per_epoch, warmup_epochs: constant_rate,
    "cosine_warmup": cosine_warmup,
    "steps_warmup": steps_warmup,
}
