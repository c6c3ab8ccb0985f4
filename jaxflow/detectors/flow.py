"""The detector of normalizing flows: a flow over the feature maps of a frozen encoder."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

import jax
import jax.numpy as jnp
import numpy as np

from jaxflow.detectors.contract import Objective, Pass, Scored, Variables
from jaxflow.detectors.losses import LOSSES, Loss, dimensions, image_nll
from jaxflow.detectors.pyramid import FlowPyramid, Latent, normalization_name
from jaxflow.detectors.scores import SCORES, USUAL_SCORES, Meanings, anomaly_score
from jaxflow.encoders import Encoder
from jaxflow.flows import Bijection
from jaxflow.flows.arguments import check_choice

_EPSILON = 1e-5


@dataclasses.dataclass(frozen=True, eq=False)
class FlowDetector:
    """Learn the likelihood of normal feature maps; score others by it.

    Attributes:
      encoder: gives the feature maps.
      pyramid: the flow over them.
      scores: keys of `SCORES` that are reported.
      loss: what training minimizes.

    Reference: arXiv 2111.07677; arXiv 2107.12571.
    """

    encoder: Encoder
    pyramid: FlowPyramid
    scores: tuple[str, ...] = USUAL_SCORES
    loss: Loss = LOSSES["nll"]

    meanings: ClassVar[Mapping[str, str]] = Meanings()

    def __post_init__(self):
        for name in self.scores:
            check_choice("score", name, SCORES)

    @property
    def before(self) -> tuple[Pass, ...]:
        """Return the pass that gives a normalization its mean and deviation, if it has any."""
        return (_moments_pass(),) if self.pyramid.moments else ()

    @property
    def after(self) -> tuple[Pass, ...]:
        """Return a pass for each score that is relative to the training set."""
        return tuple(_reference_pass(self, name) for name in self._relative)

    @property
    def objective(self) -> Objective:
        """Return the loss of each image's maps together, and their nats per dimension."""

        def objective(
            variables: Variables, maps: Sequence[jax.Array], key: jax.Array
        ) -> tuple[jax.Array, jax.Array]:
            del key  # Nothing is drawn.
            z_and_log_det = self.pyramid.apply(variables, maps, method="forward_and_log_det")
            latents = tuple(map(Latent, *z_and_log_det))
            return self.loss.of_images(latents), image_nll(latents) / dimensions(latents)

        return objective

    def init(self, key: jax.Array, size: tuple[int, int]) -> Variables:
        """Draw the variables for inputs of (height, width): `params`, `constants`.

        Raises:
          InputError: if the encoder cannot take that size.
          ValueError: if there are no such flows over its maps.
        """
        sizes = self.encoder.map_sizes(size)
        maps = [
            jax.ShapeDtypeStruct((1, *s, c), jnp.float32)
            for s, c in zip(sizes, self.encoder.channels, strict=True)
        ]
        # A draw compiles once for all steps of a shape; under `jax.jit`, once for each parameter.
        variables = dict(self.pyramid.lazy_init(key, maps))
        constants = dict(variables.get("constants", {}))
        for name in self._relative:
            of_latents = functools.partial(_reference, self, name)
            reference = jax.eval_shape(of_latents, variables, maps)
            constants[_constant(name)] = jnp.zeros(reference.shape[1:], reference.dtype)
        return {**variables, "constants": constants}

    def latents(self, variables: Variables, maps: Sequence[jax.Array]) -> tuple[Latent, ...]:
        """Run feature maps f32[b, h_i, w_i, c_i] through the flow."""
        return cast(tuple[Latent, ...], self.pyramid.apply(variables, maps, method="latents"))

    def score(
        self, variables: Variables, maps: Sequence[jax.Array], size: tuple[int, int]
    ) -> dict[str, Scored]:
        """Score images by their feature maps; see the contract."""
        latents = self.latents(variables, maps)
        scored = {}
        for name in self.scores:
            reference = variables.get("constants", {}).get(_constant(name))
            anomaly_map = SCORES[name].of_latents(latents, size, reference)
            scored[name] = Scored(anomaly_map, anomaly_score(anomaly_map))
        return scored

    def describe(self) -> str:
        """Say in a line what it is."""
        return self.pyramid.describe()

    @property
    def _relative(self) -> tuple[str, ...]:
        """Return the scores that are relative to the training set."""
        return tuple(name for name in self.scores if SCORES[name].reference is not None)


def flow_detector(
    encoder: Encoder,
    flow: Bijection,
    normalization: str = "layer_norm",
    condition: str = "none",
    condition_dim: int = 128,
    scores: tuple[str, ...] = USUAL_SCORES,
    loss: str = "nll",
) -> FlowDetector:
    """Put a flow over each map of an encoder.

    Args:
      encoder: gives the feature maps.
      flow: of one map; each gets a copy with its own parameters.
      normalization: a key of `jaxflow.flows.NORMALIZATIONS`.
      condition: a key of `CONDITIONS`.
      condition_dim: channels of the condition.
      scores: keys of `SCORES`.
      loss: a key of `LOSSES`.

    Raises:
      ValueError: if there is no such choice.
    """
    check_choice("loss", loss, LOSSES)
    maps = len(encoder.channels)
    pyramid = FlowPyramid(flow, maps, normalization, condition, condition_dim)
    return FlowDetector(encoder, pyramid, scores, LOSSES[loss])


def _constant(score: str) -> str:
    """Return the name of the constant that a score is relative to."""
    return f"{score}_reference"


def _reference(
    detector: FlowDetector, score: str, variables: Variables, maps: Sequence[jax.Array]
) -> jax.Array:
    reference = SCORES[score].reference
    assert reference is not None
    return reference(detector.latents(variables, maps))


_compiled_reference = functools.partial(jax.jit, static_argnums=(0, 1))(_reference)


def _reference_pass(detector: FlowDetector, score: str) -> Pass:
    """Return the pass that finds the greatest value of a score's reference over all images."""

    def update(
        variables: Variables, carry: np.ndarray | None, maps: Sequence[jax.Array], valid: np.ndarray
    ) -> np.ndarray:
        values = np.asarray(_compiled_reference(detector, score, variables, maps))
        greatest = values[valid].max(0)
        return greatest if carry is None else np.maximum(carry, greatest)

    def finish(variables: Variables, carry: np.ndarray) -> Variables:
        return _with_constants(variables, {_constant(score): jnp.asarray(carry)})

    return Pass(lambda variables: None, update, finish)


def _moments_pass() -> Pass:
    """Return the pass that finds mean and standard deviation of each channel of each map."""

    def update(
        variables: Variables, carry: list | None, maps: Sequence[jax.Array], valid: np.ndarray
    ) -> list[tuple[int, np.ndarray, np.ndarray]]:
        carry = carry or [(0, np.zeros(m.shape[-1]), np.zeros(m.shape[-1])) for m in maps]
        return [_add_moments(c, np.asarray(m)[valid]) for c, m in zip(carry, maps, strict=True)]

    def finish(variables: Variables, carry: list) -> Variables:
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
        return _with_constants(variables, constants)

    return Pass(lambda variables: None, update, finish)


def _add_moments(carry: tuple[int, np.ndarray, np.ndarray], images: np.ndarray) -> tuple:
    positions, total, squares = carry
    for image in images:
        vectors = np.asarray(image, np.float64).reshape(-1, image.shape[-1])
        positions += len(vectors)
        total = total + vectors.sum(0)
        squares = squares + np.square(vectors).sum(0)
    return positions, total, squares


def _with_constants(variables: Variables, constants: dict[str, Any]) -> Variables:
    return {**variables, "constants": {**variables.get("constants", {}), **constants}}
