"""What normalizations are to know of normal feature maps: a pass for each kind of statistics."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxflow.detectors.contract import Pass, Variables, with_constants
from jaxflow.detectors.covariance import SHARED, Moments, add_vectors, whitening_of
from jaxflow.detectors.pyramid import normalization_name
from jaxflow.errors import InputError

_EPSILON = 1e-5


def _add_channels(
    variables: Variables, carry: list | None, maps: Sequence[jax.Array], valid: np.ndarray
) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """Add the images of a batch to the sums over all positions of each map."""
    carry = carry or [(0, np.zeros(m.shape[-1]), np.zeros(m.shape[-1])) for m in maps]
    return [_add_image_sums(c, np.asarray(m)[valid]) for c, m in zip(carry, maps, strict=True)]


def _add_image_sums(carry: tuple[int, np.ndarray, np.ndarray], images: np.ndarray) -> tuple:
    positions, total, squares = carry
    for image in images:
        vectors = np.asarray(image, np.float64).reshape(-1, image.shape[-1])
        positions += len(vectors)
        total = total + vectors.sum(0)
        squares = squares + np.square(vectors).sum(0)
    return positions, total, squares


def _finish_channels(variables: Variables, carry: list) -> Variables:
    """Keep the mean and standard deviation of each channel of each map."""
    constants = {}
    for i, (positions, total, squares) in enumerate(carry):
        mean = total / positions
        variance = np.maximum(squares / positions - np.square(mean), 0.0)
        # A channel that is constant would be divided by 0.
        std = np.maximum(np.sqrt(variance), _EPSILON)
        constants[normalization_name(i)] = {
            "mean": jnp.asarray(mean, jnp.float32),
            "std": jnp.asarray(std, jnp.float32),
        }
    return with_constants(variables, constants)


def _channels_pass(normalization: Any) -> Pass:
    """Return the pass that finds mean and standard deviation of each channel of each map."""
    del normalization  # It changes nothing before.
    return Pass(lambda variables: None, _add_channels, _finish_channels)


def _positions_pass(normalization: Any) -> Pass:
    """Return the pass that finds mean and whitening of each position of each map."""

    def update(
        variables: Variables, carry: list, maps: Sequence[jax.Array], valid: np.ndarray
    ) -> list[Moments]:
        carry = carry or [Moments.start(*m.shape[1:]) for m in maps]
        vectors = [np.asarray(shorten(m), np.float64)[valid] for m in maps]
        return [add_vectors(c, x) for c, x in zip(carry, vectors, strict=True)]

    def finish(variables: Variables, carry: list[Moments]) -> Variables:
        try:
            fitted = {normalization_name(i): whitening_of(m, SHARED) for i, m in enumerate(carry)}
        except InputError as error:
            raise InputError(
                f"the normalization whitens by covariances, which {carry[0].n} normal images do "
                "not give: it needs at least 2 that differ; choose another normalization"
            ) from error
        return with_constants(variables, fitted)

    shorten = jax.jit(functools.partial(normalization.radial.apply, {}))
    return Pass(lambda variables: [], update, finish)


# What `Bijection.statistics` names -> the pass that finds it, given the normalization.
STATISTICS: dict[str, Callable[[Any], Pass]] = {
    "moments": _channels_pass,
    "gaussians": _positions_pass,
}
