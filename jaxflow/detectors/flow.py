"""The detector of normalizing flows: a flow over the feature maps of a frozen encoder."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

import jax
import jax.numpy as jnp
import numpy as np

from jaxflow.detectors.contract import (
    Likelihood,
    Objective,
    Pass,
    Scored,
    Variables,
    with_constants,
)
from jaxflow.detectors.losses import LOSSES, Loss, dimensions, image_nll
from jaxflow.detectors.pyramid import FlowPyramid, Latent
from jaxflow.detectors.scores import (
    USUAL_SCORES,
    LatentMeanings,
    LatentScore,
    learned_name,
    score_named,
)
from jaxflow.detectors.statistics import STATISTICS
from jaxflow.encoders import Encoder
from jaxflow.flows import NORMALIZATIONS, Bijection, log_diagonal_prior, start_from_data
from jaxflow.flows.arguments import check_choice, check_positive
from jaxflow.flows.linear import has_diagonal

# Images that the start of a flow is computed from.
_START_IMAGES = 32


@dataclasses.dataclass(frozen=True, eq=False)
class FlowDetector:
    """Learn the likelihood of normal feature maps; score others by it.

    Attributes:
      encoder: gives the feature maps.
      pyramid: the flow over them.
      scores: names of those that are reported; see `score_named`.
      loss: what training minimizes.
      diagonal_prior: deviation of the log-normal prior on the diagonals of the learned linear maps,
        which the loss has besides the likelihood; 0: none. See `log_diagonal_prior`.

    Reference: arXiv 2111.07677; arXiv 2107.12571; arXiv 2510.09452 for the prior.
    """

    encoder: Encoder
    pyramid: FlowPyramid
    scores: tuple[str, ...] = USUAL_SCORES
    loss: Loss = LOSSES["nll"]
    diagonal_prior: float = 0.0

    meanings: ClassVar[Mapping[str, str]] = LatentMeanings()

    def __post_init__(self):
        for name in self.scores:
            score_named(name)
        if self.diagonal_prior:
            check_positive("diagonal_prior", self.diagonal_prior)

    @property
    def before(self) -> tuple[Pass, ...]:
        """Return the passes that give a normalization its constants, and then a flow its start."""
        normalization = NORMALIZATIONS[self.pyramid.normalization]()
        kind = normalization.statistics
        passes = () if kind is None else (STATISTICS[kind](normalization),)
        return (*passes, _start_pass(self)) if self.pyramid.starts_from_data else passes

    @property
    def after(self) -> tuple[Pass, ...]:
        """Return a pass for each thing of normal images that scores are relative to."""
        return tuple(_reference_pass(self, *each) for each in self._relative.items())

    @property
    def objective(self) -> Objective:
        """Return the loss of each image's maps together, and their nats per dimension.

        The prior is in the loss, and not in the nats per dimension, which compare between flows.
        """

        def objective(
            variables: Variables, maps: Sequence[jax.Array], key: jax.Array
        ) -> tuple[jax.Array, jax.Array]:
            del key  # Nothing is drawn.
            # The normalization has seen these images, and will not have seen new ones.
            latents = self.latents(variables, maps, leave_one_out=True)
            count = dimensions(latents)
            prior = self.loss.of_nats(self.prior(variables["params"]), count)
            return self.loss.of_images(latents) + prior, image_nll(latents) / count

        return objective

    @property
    def likelihood(self) -> Likelihood:
        """Return that of the encoder's maps, or of what a normalization makes of them."""

        def nats(variables: Variables, maps: Sequence[jax.Array]) -> jax.Array:
            latents = self.latents(variables, maps)
            return image_nll(latents) / dimensions(latents)

        pyramid = self.pyramid
        return Likelihood(nats, "" if pyramid.bijective else f"maps after {pyramid.normalization}")

    def prior(self, params: Any) -> jax.Array:
        """Return the negative log-prior f[] of a flow's parameters, nats; 0 where there is none."""
        if not self.diagonal_prior:
            return jnp.zeros(())
        return -log_diagonal_prior(params, std=self.diagonal_prior)

    def init(self, key: jax.Array, size: tuple[int, int]) -> Variables:
        """Draw the variables for inputs of (height, width): `params`, `constants`.

        Raises:
          InputError: if the encoder cannot take that size.
          ValueError: if there are no such flows over its maps, or none has the linear maps that the
            prior is for.
        """
        sizes = self.encoder.map_sizes(size)
        maps = [
            jax.ShapeDtypeStruct((1, *s, c), jnp.float32)
            for s, c in zip(sizes, self.encoder.channels, strict=True)
        ]
        # A draw compiles once for all steps of a shape; under `jax.jit`, once for each parameter.
        variables = dict(self.pyramid.lazy_init(key, maps, method=FlowPyramid.latents))
        if self.diagonal_prior and not has_diagonal(variables["params"]):
            raise ValueError(
                "diagonal_prior is of learned linear maps, which this flow has not; set it to 0, "
                "or permutation to linear"
            )
        constants = dict(variables.get("constants", {}))
        for name, score in self._relative.items():
            of_image = jax.eval_shape(functools.partial(_of_images, self, score), variables, maps)
            shapes = jax.eval_shape(functools.partial(_reduce, score), of_image)
            constants[name] = jax.tree.map(lambda each: jnp.zeros(each.shape, each.dtype), shapes)
        return {**variables, "constants": constants}

    def latents(
        self, variables: Variables, maps: Sequence[jax.Array], leave_one_out: bool = False
    ) -> tuple[Latent, ...]:
        """Run feature maps f32[b, h_i, w_i, c_i] through the flow; see `FlowPyramid.latents`."""
        found = self.pyramid.apply(variables, maps, leave_one_out, method="latents")
        return cast(tuple[Latent, ...], found)

    def score(
        self, variables: Variables, maps: Sequence[jax.Array], size: tuple[int, int]
    ) -> dict[str, Scored]:
        """Score images by their feature maps; see the contract."""
        latents, constants = self.latents(variables, maps), variables.get("constants", {})
        return {
            name: score_named(name)(latents, size, constants.get(learned_name(name)))
            for name in self.scores
        }

    def describe(self) -> str:
        """Say in a line what it is."""
        return self.pyramid.describe()

    @property
    def _relative(self) -> dict[str, LatentScore]:
        """Return, by the name of what it is relative to, each score that is to anything."""
        named = {learned_name(name): score_named(name) for name in self.scores}
        return {name: score for name, score in named.items() if score.over_maps.reference}


def flow_detector(
    encoder: Encoder,
    flow: Bijection,
    normalization: str = "layer_norm",
    condition: str = "none",
    condition_dim: int = 128,
    scores: tuple[str, ...] = USUAL_SCORES,
    loss: str = "nll",
    diagonal_prior: float = 0.0,
    components: int = 1,
) -> FlowDetector:
    """Put a flow over each map of an encoder, or a joint one over all.

    Args:
      encoder: gives the feature maps.
      flow: see `FlowPyramid`.
      normalization: a key of `jaxflow.flows.NORMALIZATIONS`.
      condition: a key of `CONDITIONS`.
      condition_dim: channels of the condition.
      scores: names as `score_named` takes them.
      loss: a key of `LOSSES`.
      diagonal_prior: see `FlowDetector`.
      components: of the base, see `FlowPyramid`.

    Raises:
      ValueError: if there is no such choice.
    """
    check_choice("loss", loss, LOSSES)
    maps = len(encoder.channels)
    pyramid = FlowPyramid(flow, maps, normalization, condition, condition_dim, components)
    return FlowDetector(encoder, pyramid, scores, LOSSES[loss], diagonal_prior)


def _of_images(
    detector: FlowDetector, score: LatentScore, variables: Variables, maps: Sequence[jax.Array]
) -> Any:
    """Return what each image gives to the reference of a score."""
    assert score.over_maps.reference is not None
    return score.over_maps.reference.of_images(score.of_maps(detector.latents(variables, maps)))


def _reduce(score: LatentScore, of_images: Any) -> Any:
    assert score.over_maps.reference is not None
    return score.over_maps.reference.reduce(of_images)


_compiled_of_images = functools.partial(jax.jit, static_argnums=(0, 1))(_of_images)


def _reference_pass(detector: FlowDetector, name: str, score: LatentScore) -> Pass:
    """Return the pass that finds what a score is relative to."""

    def update(
        variables: Variables, carry: list, maps: Sequence[jax.Array], valid: np.ndarray
    ) -> list:
        found = _compiled_of_images(detector, score, variables, maps)
        return [*carry, jax.tree.map(lambda each: np.asarray(each)[valid], found)]

    def finish(variables: Variables, carry: list) -> Variables:
        of_images = jax.tree.map(lambda *parts: np.concatenate(parts), *carry)
        return with_constants(variables, {name: _reduce(score, of_images)})

    assert score.over_maps.reference is not None
    return Pass(lambda variables: [], update, finish, score.over_maps.reference.held_out)


def _start_pass(detector: FlowDetector) -> Pass:
    """Return the pass that sets the start of a flow by the first normal images."""

    def update(
        variables: Variables, carry: list, maps: Sequence[jax.Array], valid: np.ndarray
    ) -> list:
        lacking = _START_IMAGES - sum(len(batch[0]) for batch in carry)
        if lacking <= 0:
            return carry
        return [*carry, [np.asarray(m)[valid][:lacking] for m in maps]]

    def finish(variables: Variables, carry: list) -> Variables:
        maps = tuple(np.concatenate(parts) for parts in zip(*carry, strict=True))
        start = jax.jit(functools.partial(start_from_data, detector.pyramid))
        return cast(Variables, start(variables, maps))

    return Pass(lambda variables: [], update, finish)
