"""Scores of latents by name: of each map, over the maps, over the positions."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxflow.detectors.contract import Scored
from jaxflow.detectors.over_maps import (
    CFLOW,
    MEAN,
    MSFLOW_PRODUCT,
    MSFLOW_SUM,
    OVER_MAPS,
    TYPICALITY,
    OverMaps,
)
from jaxflow.detectors.over_positions import (
    MAXIMUM,
    OVER_POSITIONS,
    SEPARATOR,
    Meanings,
    OverPositions,
    split_name,
)
from jaxflow.detectors.pyramid import Latent


def probability(latent: Latent) -> jax.Array:
    """Return `-exp(-0.5 mean_c z^2)` f[b, h, w], in [-1, 0]: the score of FastFlow's public code.

    It depends only on |z|^2: the log_det is not in it. Of another base than the standard normal it
    is that of the z^2 which would be as likely.
    """
    return -jnp.exp(-0.5 * latent.mean_square())


def nll(latent: Latent) -> jax.Array:
    """Return the exact `-log p / c` f[b, h, w], nats per dimension: `latent_term + volume_term`."""
    return -latent.log_prob() / latent.z.shape[-1]


def latent_term(latent: Latent) -> jax.Array:
    """Return what the latents say of `nll`: `mean_c z^2 / 2 + log(2 pi) / 2` f[b, h, w]."""
    return 0.5 * (latent.mean_square() + math.log(2 * math.pi))


def volume_term(latent: Latent) -> jax.Array:
    """Return what the change of volume says of `nll`: `-log_det / c` f[b, h, w]."""
    return -latent.log_det / latent.z.shape[-1]


@dataclasses.dataclass(frozen=True)
class LatentScore:
    """A score of latents.

    Attributes:
      of_map: the score f[b, h, w] of the latent of one feature map; higher is more anomalous.
      meaning: what it means, for its readers.
      over_maps: how the maps become one.
      over_positions: how the map becomes the image's score.
    """

    of_map: Callable[[Latent], jax.Array]
    meaning: str
    over_maps: OverMaps = MEAN
    over_positions: OverPositions = MAXIMUM

    def of_maps(self, latents: Sequence[Latent]) -> tuple[jax.Array, ...]:
        """Return the score f[b, h_i, w_i] of each map."""
        return tuple(self.of_map(latent) for latent in latents)

    def __call__(
        self, latents: Sequence[Latent], size: tuple[int, int], reference: Any = None
    ) -> Scored:
        """Score images; see `anomaly_map`."""
        anomaly_map = self.over_maps.combine(self.of_maps(latents), size, reference)
        return Scored(anomaly_map, self.over_positions.of_maps(anomaly_map))


SCORES: dict[str, LatentScore] = {
    "probability": LatentScore(
        probability,
        "-exp(-mean z²/2) of the latents z: from -1 for a position that is most normal to 0 for "
        "one that is not. It is a score, not a chance: only its order counts.",
    ),
    "nll": LatentScore(
        nll,
        "the exact negative log-likelihood of the features in nats per dimension. The larger, the "
        "less likely; it has no fixed zero.",
    ),
    "latent": LatentScore(
        latent_term,
        "the part of the nll that the latents z give, in nats per dimension: half their mean "
        "square, and a constant.",
    ),
    "volume": LatentScore(
        volume_term,
        "the part of the nll that the flow's change of volume gives, in nats per dimension. Where "
        "the volume changes everywhere alike, it says nothing.",
    ),
    "typicality": LatentScore(
        nll,
        "the distance of the nll from its mean on held-out normal images, in nats per dimension: "
        "too likely counts as too unlikely does.",
        TYPICALITY,
    ),
    "cflow": LatentScore(
        nll,
        "the number of feature maps minus their likelihoods relative to the largest seen on the "
        "training set, added up: 0 is as likely as the likeliest normal position.",
        CFLOW,
    ),
    "msflow": LatentScore(
        latent_term,
        "1 minus the product over the maps of exp(-mean z²/2) of the latents z, relative to the "
        "most normal pixel of its image, which is 0. MSFlow's score of images, with the end -top3.",
        MSFLOW_PRODUCT,
    ),
    "msflow_sum": LatentScore(
        latent_term,
        "the sum over the maps of exp(-mean z²/2) of the latents z, each relative to its largest "
        "in the image, below that of the image's most normal pixel. MSFlow's score of pixels.",
        MSFLOW_SUM,
    ),
}
# What every run reports.
USUAL_SCORES = ("probability", "nll")


def score_named(name: str) -> LatentScore:
    """Return a score by its name.

    Args:
      name: a key of `SCORES`; after it, for those that average the maps, "-" and a key of
        `OVER_MAPS`; then "-" and a key of `OVER_POSITIONS`: "nll-calibrated-top".

    Raises:
      ValueError: if there is no such score.
    """
    before, over_positions = split_name(name)
    base, separator, end = before.partition(SEPARATOR)
    known = base in SCORES and (
        not separator or (end in OVER_MAPS and SCORES[base].over_maps is MEAN)
    )
    if not known:
        raise ValueError(f"score must be one of {', '.join(SCORES)}, {HOW_TO_END}; got {name!r}")
    score = SCORES[base]
    if end:
        score = dataclasses.replace(score, over_maps=OVER_MAPS[end])
    if over_positions is not MAXIMUM:
        score = dataclasses.replace(score, over_positions=over_positions)
    if score.over_positions.of_p_values and not score.over_maps.gives_p_values:
        raise ValueError(f"score {name!r}: nfa reads p-values; {base}-max_p-nfa gives them")
    return score


def _ends(registry: Mapping[str, Any]) -> str:
    *first, last = (f"{SEPARATOR}{name}" for name in registry)
    return f"{', '.join(first)} or {last}"


# Of a score's name, for messages and help.
HOW_TO_END = f"then {_ends(OVER_MAPS)}, then {_ends(OVER_POSITIONS)}"


def learned_name(name: str) -> str:
    """Return the name of the constant that a score is relative to; its positions do not matter."""
    return f"{split_name(name)[0]}_reference"


class LatentMeanings(Meanings):
    """What each score of latents means; scores that are added to `SCORES` later are seen."""

    def __init__(self) -> None:
        super().__init__({})

    def __getitem__(self, name: str) -> str:
        try:
            score = score_named(name)
        except ValueError:
            raise KeyError(name) from None
        base = SCORES[name.partition(SEPARATOR)[0]]
        more = ""
        if score.over_maps is not base.over_maps:
            more += f" Over the maps: {score.over_maps.meaning}."
        if score.over_positions is not base.over_positions:
            more += f" An image's score: {score.over_positions.meaning}."
        return base.meaning + more

    def __iter__(self) -> Iterator[str]:
        return iter(SCORES)

    def __len__(self) -> int:
        return len(SCORES)


def anomaly_map(
    latents: Sequence[Latent], size: tuple[int, int], score: str, reference: Any = None
) -> jax.Array:
    """Score every pixel.

    Args:
      latents: of the same b images.
      size: (height, width) of the input, pixels.
      score: a name as `score_named` takes it.
      reference: what the score is relative to, if anything; see `Reference`.

    Returns:
      f32[b, height, width]; higher is more anomalous.

    Raises:
      ValueError: if the score is unknown or lacks its reference.
    """
    if not latents:
        raise ValueError("latents must hold at least one map, got none")
    return score_named(score)(latents, size, reference).anomaly_map
