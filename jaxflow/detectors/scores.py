"""From latents to anomaly maps and anomaly scores. No score looks at another image."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxflow.detectors.pyramid import Latent
from jaxflow.flows.arguments import check_choice, check_count


def probability(latent: Latent) -> jax.Array:
    """Return `-exp(-0.5 mean_c z^2)` f[b, h, w], in [-1, 0]: the score of FastFlow's public code.

    It depends only on |z|^2: the log_det is not in it.
    """
    return -jnp.exp(-0.5 * jnp.square(latent.z).mean(-1))


def nll(latent: Latent) -> jax.Array:
    """Return the exact `-log p / c` f[b, h, w], nats per dimension."""
    return -latent.log_prob() / latent.z.shape[-1]


def cflow(latents: Sequence[Latent], size: tuple[int, int], maxima: jax.Array | None) -> jax.Array:
    """Return CFLOW's map: the number of maps minus the sum of their upsampled `p`.

    `p = exp(log p(x) / c - m)` at every position, m the map's maximum of `log p(x) / c` over a
    reference set: the training set, so that a score does not depend on what else is scored. The
    public code takes m over the test set that it scores.

    Args:
      latents: of the same b images.
      size: (height, width) of the input, pixels.
      maxima: f32[maps], nats per dimension, as `log_prob_maxima` gives them.

    Returns:
      f32[b, height, width]; 0 where all maps are as likely as the likeliest of the reference.

    Raises:
      ValueError: if there are no maxima, or of another number of maps.

    Reference: arXiv 2107.12571, section 4.2 (bilinear interpolation; corners aligned as in the
      public code).
    """
    if maxima is None or len(maxima) != len(latents):
        raise ValueError(
            f"the score cflow needs a training-set maximum for each of {len(latents)} maps, got "
            f"{0 if maxima is None else len(maxima)}"
        )
    p = [jnp.exp(-nll(latent) - m) for latent, m in zip(latents, maxima, strict=True)]
    return len(p) - jnp.stack([upsample(each, size, align_corners=True) for each in p]).sum(0)


def log_prob_maxima(latents: Sequence[Latent]) -> jax.Array:
    """Return the greatest `log p / c` f[b, maps] of each image's maps, nats per dimension."""
    return jnp.stack([-nll(latent).min((1, 2)) for latent in latents], -1)


@dataclasses.dataclass(frozen=True)
class LatentScore:
    """A score of latents.

    Attributes:
      of_latents: (latents, (height, width), reference) -> anomaly map f32[b, height, width].
      meaning: what it means, for its readers.
      reference: what of a training image the score is relative to, f32[b, ...] of latents; the
        greatest over all training images becomes the `reference` of `of_latents`. None: nothing.
    """

    of_latents: Callable[[Sequence[Latent], tuple[int, int], jax.Array | None], jax.Array]
    meaning: str
    reference: Callable[[Sequence[Latent]], jax.Array] | None = None


def averaged(score: Callable[[Latent], jax.Array]) -> Callable[..., jax.Array]:
    """Make `of_latents` of a `LatentScore`: upsample the score of each map, average over the maps.

    Args:
      score: of one map: its latent -> f[b, h, w].
    """

    def of_latents(
        latents: Sequence[Latent], size: tuple[int, int], reference: jax.Array | None = None
    ) -> jax.Array:
        return jnp.stack([upsample(score(latent), size) for latent in latents]).mean(0)

    return of_latents


SCORES: dict[str, LatentScore] = {
    "probability": LatentScore(
        averaged(probability),
        "-exp(-mean z²/2) of the latents z: from -1 for a position that is most normal to 0 for "
        "one that is not. It is a score, not a chance: only its order counts.",
    ),
    "nll": LatentScore(
        averaged(nll),
        "the exact negative log-likelihood of the features in nats per dimension. The larger, the "
        "less likely; it has no fixed zero.",
    ),
    "cflow": LatentScore(
        cflow,
        "the number of feature maps minus their likelihoods relative to the largest seen on the "
        "training set, added up: 0 is as likely as the likeliest normal position.",
        reference=log_prob_maxima,
    ),
}
# What every run reports.
USUAL_SCORES = ("probability", "nll")


class Meanings(Mapping[str, str]):
    """What each score of `SCORES` means, by its name; scores that are added later are seen."""

    def __getitem__(self, name: str) -> str:
        return SCORES[name].meaning

    def __iter__(self) -> Iterator[str]:
        return iter(SCORES)

    def __len__(self) -> int:
        return len(SCORES)


def anomaly_map(
    latents: Sequence[Latent],
    size: tuple[int, int],
    score: str,
    reference: jax.Array | None = None,
) -> jax.Array:
    """Score every pixel.

    Args:
      latents: of the same b images.
      size: (height, width) of the input, pixels.
      score: a key of SCORES.
      reference: what the score is relative to, if anything; see `LatentScore`.

    Returns:
      f32[b, height, width]; higher is more anomalous.

    Raises:
      ValueError: if the score is unknown or lacks its reference.

    Reference: arXiv 2111.07677, section 3.3 (bilinear interpolation, no corner alignment, mean
      over the maps); arXiv 2107.12571, section 4.2, for "cflow".
    """
    check_choice("score", score, SCORES)
    if not latents:
        raise ValueError("latents must hold at least one map, got none")
    return SCORES[score].of_latents(latents, size, reference)


def anomaly_score(anomaly_maps: jax.Array) -> jax.Array:
    """Return the maximum f[b] of each map f[b, h, w]: the anomaly score of the image."""
    return anomaly_maps.max((1, 2))


def upsample(maps: jax.Array, size: tuple[int, int], align_corners: bool = False) -> jax.Array:
    """Resize maps bilinearly, as PyTorch's `interpolate` does.

    Args:
      maps: f[b, h, w].
      size: (height, width) wanted.
      align_corners: whether the corner values keep their corners.

    Returns:
      f[b, height, width].

    Raises:
      ValueError: if the size is not two integers of at least 1.
    """
    for name, length in zip(("height", "width"), size, strict=True):
        check_count(name, length)
    rows = _interpolation(maps.shape[1], size[0], align_corners).astype(maps.dtype)
    columns = _interpolation(maps.shape[2], size[1], align_corners).astype(maps.dtype)
    return jnp.einsum("Hh,bhw,Ww->bHW", rows, maps, columns, precision="highest")


def _interpolation(source: int, target: int, align_corners: bool) -> np.ndarray:
    """Return the f64[target, source] matrix of one-dimensional linear interpolation."""
    if align_corners:
        place = np.arange(target) * ((source - 1) / max(target - 1, 1))
    else:
        place = np.clip((np.arange(target) + 0.5) * (source / target) - 0.5, 0, source - 1)
    low = np.floor(place).astype(int)
    high = np.minimum(low + 1, source - 1)
    matrix = np.zeros((target, source))
    np.add.at(matrix, (np.arange(target), low), 1.0 - (place - low))
    np.add.at(matrix, (np.arange(target), high), place - low)
    return matrix
