"""From an anomaly map to the anomaly score of its image. No image sees another."""

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

# Between the parts of a score's name.
SEPARATOR = "-"
# Share of the pixels that the top of a map is, and that of MSFlow's.
TOP_SHARE = 0.01
MSFLOW_TOP_SHARE = 0.03
# -log10 of the p-values at which `nfa` counts: from .3 to a millionth.
_LEVELS = np.linspace(0.5, 6.0, 23)


class OverPositions(NamedTuple):
    """A way from an anomaly map to the image's score.

    Attributes:
      of_maps: f[b, h, w] -> f[b].
      meaning: what it does, the end of a sentence.
      of_p_values: whether it reads -log10 of p-values, and no other map.
    """

    of_maps: Callable[[jax.Array], jax.Array]
    meaning: str
    of_p_values: bool = False


def anomaly_score(anomaly_maps: jax.Array) -> jax.Array:
    """Return the maximum f[b] of each map f[b, h, w]: the anomaly score of the image."""
    return anomaly_maps.max((1, 2))


def top_mean(anomaly_maps: jax.Array, share: float = TOP_SHARE) -> jax.Array:
    """Return the mean f[b] of the highest share of each map f[b, h, w].

    Reference: arXiv 2308.15300, section 3.4, which takes the highest 3 %.
    """
    values = anomaly_maps.reshape(len(anomaly_maps), -1)
    count = max(1, round(share * values.shape[1]))
    least = kth_largest(values, count)[:, None]
    above = values > least
    # Of those that equal the least, as many as are left to take.
    total = jnp.where(above, values, 0.0).sum(1) + (count - above.sum(1)) * least[:, 0]
    return total / count


def top_over_median(anomaly_maps: jax.Array) -> jax.Array:
    """Return how far f[b] the mean of a map's highest hundredth lies above the map's median."""
    values = anomaly_maps.reshape(len(anomaly_maps), -1)
    return top_mean(anomaly_maps) - kth_largest(values, (values.shape[1] + 1) // 2)


def nfa(anomaly_maps: jax.Array) -> jax.Array:
    """Return the a-contrario score f[b] of maps f[b, h, w] that hold -log10 of p-values.

    Were the n pixels of a normal image independent, a share p of them would have a p-value of p or
    less. The share k that does so is as improbable as `exp(-n KL(k || p))` at most (Chernoff). The
    number of false alarms is that bound times the number of levels p that are looked at; the score
    is -log10 of the smallest. Neighbours do depend on each other, so that it is a score, and not
    the rate of false alarms that it would be for independent pixels.

    U-Flow's (arXiv 2211.12353) is another: one for each region or window of the latents, from the
    chi-squared tail of z^2 and not from p-values of normal images, to segment and not to rank.

    Reference: Desolneux, Moisan and Morel, "From Gestalt Theory to Image Analysis", 2008.
    """
    pixels = anomaly_maps[0].size
    least = []
    for level in _LEVELS:
        p = 10.0**-level
        k = (anomaly_maps >= level).mean((1, 2))
        divergence = k * jnp.log(jnp.maximum(k, p) / p)
        rest = (1 - k) * jnp.log(jnp.maximum(1 - k, 1e-30) / (1 - p))
        least.append(jnp.where(k > p, pixels * (divergence + rest), 0.0))
    return jnp.stack(least).max(0) / math.log(10.0) - math.log10(len(_LEVELS))


def kth_largest(values: jax.Array, k: int) -> jax.Array:
    """Return the k-th largest number f32[b] of each row f32[b, n], k from 1 to n; none is NaN.

    It is found bit by bit, which on a CPU costs a tenth of sorting a long row.
    """
    bits = jax.lax.bitcast_convert_type(values.astype(jnp.float32), jnp.uint32)
    sign = jnp.uint32(1 << 31)
    # The order of these integers is that of the numbers.
    ordered = jnp.where(bits & sign, ~bits, bits | sign)

    def with_bit(i: jax.Array, found: jax.Array) -> jax.Array:
        tried = found | (sign >> i.astype(jnp.uint32))
        return jnp.where((ordered >= tried[:, None]).sum(1) >= k, tried, found)

    found = jax.lax.fori_loop(0, 32, with_bit, jnp.zeros(len(values), jnp.uint32))
    bits = jnp.where(found & sign, found ^ sign, ~found)
    return jax.lax.bitcast_convert_type(bits, jnp.float32)


# End of a score's name -> what it does.
OVER_POSITIONS: dict[str, OverPositions] = {
    "top": OverPositions(top_mean, "the mean of the highest hundredth of its map"),
    "top3": OverPositions(
        functools.partial(top_mean, share=MSFLOW_TOP_SHARE),
        "the mean of the highest three hundredths of its map, as MSFlow takes it",
    ),
    "mean": OverPositions(lambda maps: maps.mean((1, 2)), "the mean of its map"),
    "median_top": OverPositions(
        top_over_median, "how far the highest hundredth of its map lies above the map's median"
    ),
    "nfa": OverPositions(
        nfa,
        "-log10 of the number of false alarms, were all pixels independent",
        of_p_values=True,
    ),
}
MAXIMUM = OverPositions(anomaly_score, "the maximum of its map")


def split_name(name: str) -> tuple[str, OverPositions]:
    """Split a score's name into what comes before its positions, and these: "nll-top"."""
    before, separator, end = name.rpartition(SEPARATOR)
    if separator and end in OVER_POSITIONS:
        return before, OVER_POSITIONS[end]
    return name, MAXIMUM


class Meanings(Mapping[str, str]):
    """What scores mean, with and without a way over the positions at the end of their names.

    Args:
      meanings: of the scores whose positions give their usual number, by name.
    """

    def __init__(self, meanings: Mapping[str, str]):
        self._meanings = meanings

    def __getitem__(self, name: str) -> str:
        before, over_positions = split_name(name)
        meaning = self._meanings[before]
        if over_positions is MAXIMUM:
            return meaning
        if over_positions.of_p_values:
            raise KeyError(name)
        return f"{meaning} An image's score: {over_positions.meaning}."

    def __iter__(self) -> Iterator[str]:
        return iter(self._meanings)

    def __len__(self) -> int:
        return len(self._meanings)
