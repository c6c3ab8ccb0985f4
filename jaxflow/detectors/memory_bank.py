"""Memory banks: nearest neighbours among normal features, and PatchCore."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxflow.detectors.contract import Pass, Scored, Untrained, Variables
from jaxflow.detectors.draw import Drawn, draw
from jaxflow.detectors.grid import align, check_smoothing, to_pixels
from jaxflow.detectors.neighbours import choose_coreset, nearest
from jaxflow.detectors.over_positions import MAXIMUM, Meanings, split_name
from jaxflow.encoders import Encoder, average_neighbourhood
from jaxflow.errors import InputError
from jaxflow.flows.arguments import check_choice, check_count, check_integer, check_odd


@dataclasses.dataclass(frozen=True, eq=False)
class MemoryBank(Untrained):
    """Keep the features of normal images; a score is the distance from the nearest of them.

    Each map is averaged over neighbourhoods, resized to the first one's grid, and the maps are
    concatenated: a vector for each position. The anomaly map is the mean Euclidean distance from
    the `neighbours` nearest vectors of the bank, the anomaly score of an image the greatest such
    distance before the map is resized and smoothed (PatchCore, Eq. 6). Without `coreset` this is
    the plain method of nearest neighbours; PatchCore has a neighbourhood of 3, a coreset and the
    reweighting.

    The pass holds 4 c bytes a vector, twice that when it ends: without `bank` for each position of
    each image (300 images, 32 x 32 positions, 384 channels: 470 MB). A score compares an image
    with 4,096 vectors at a time.

    Attributes:
      encoder: gives the feature maps.
      scores: "distance", also with an end of `OVER_POSITIONS`: "distance-top".
      neighbours: vectors whose distances are averaged.
      unit: whether each map's vectors are first scaled to length 1, so that their direction counts
        and every map counts the same. Synthetic defects on held-out normal images are found better
        so: mean AUROC .868 against .758, and .782 with each channel standardized.
      neighbourhood: side of the square that is averaged around each position, odd; 1: none
        (PatchCore: 3). At the edge the mean is over the positions that exist. It comes after
        `unit`, the encoder's own option of that name before it; without `unit` they are the same.
        By the same measure 1 is better than 3: .889 against .868.
      bank: at most so many vectors, drawn at random from all of them, go on to the coreset or the
        bank; None: all. More are better: .881 with 2,000, .889 with 5,000, .893 with 20,000.
      coreset: share of the vectors that is kept, chosen greedily so that none is far from those
        that are kept; None: all.
      projection: channels of the random projection in which the coreset is chosen; None: no
        projection.
      reweighting: whether an image's score is multiplied by
        `1 - exp |q - m| / sum_n exp |q - n|`: q its most anomalous vector, m the vector of the bank
        nearest to q, n the `support` vectors of the bank nearest to m, m among them (Eq. 7).
      support: vectors n of the reweighting, at least 2.
      smoothing: standard deviation of the Gaussian filter of the anomaly maps, pixels; 0: none.

    Raises:
      ValueError: if an option is wrong.

    Reference: PatchCore, arXiv 2106.08265.
    """

    encoder: Encoder
    scores: tuple[str, ...] = ("distance",)
    neighbours: int = 1
    unit: bool = True
    neighbourhood: int = 1
    bank: int | None = None
    coreset: float | None = None
    projection: int | None = 128
    reweighting: bool = False
    support: int = 9
    smoothing: float = 4.0

    meanings: ClassVar[Mapping[str, str]] = Meanings(
        {
            "distance": "the Euclidean distance of the features from the nearest features of "
            "normal images: 0 for features that were seen; it has no upper end.",
        }
    )

    def __post_init__(self):
        for score in self.scores:
            check_choice("score", score, self.meanings)
        check_count("neighbours", self.neighbours)
        check_odd("neighbourhood", self.neighbourhood)
        if self.bank is not None:
            check_count("bank", self.bank)
        if self.projection is not None:
            check_count("projection", self.projection)
        if self.coreset is not None and not 0 < self.coreset <= 1:
            raise ValueError(f"coreset must be above 0 and at most 1, got {self.coreset}")
        check_integer("support", self.support)
        if self.support < 2:
            raise ValueError(f"support must be at least 2, got {self.support}")
        check_smoothing(self.smoothing)

    @property
    def before(self) -> tuple[Pass, ...]:
        """Return the pass that fills the bank."""
        return (Pass(lambda variables: Drawn(), self._update, self._finish),)

    def init(self, key: jax.Array, size: tuple[int, int]) -> Variables:
        """Start with an empty bank; how long it becomes depends on the images.

        Args:
          key: of every draw of the pass.
          size: (height, width) of the input, pixels.

        Returns:
          `constants`: bank f32[0, c], which the pass makes f32[n, c], and seed u32[] of its draws;
          `params` is empty.

        Raises:
          InputError: if the encoder cannot take that size.
        """
        self.encoder.map_sizes(size)
        bank = jnp.zeros((0, sum(self.encoder.channels)), jnp.float32)
        return {
            "params": {},
            "constants": {"bank": bank, "seed": jax.random.bits(key, dtype=jnp.uint32)},
        }

    def score(
        self, variables: Variables, maps: Sequence[jax.Array], size: tuple[int, int]
    ) -> dict[str, Scored]:
        """Score images by their feature maps; see the contract.

        Raises:
          ValueError: if the bank is shorter than `neighbours` or `support`.
        """
        bank = variables["constants"]["bank"]
        if len(bank) < self._needed:
            raise ValueError(
                f"variables must hold a bank of at least {self._needed} vectors, got {len(bank)}"
            )
        # One image at a time: bounded memory, and no image changes another's rounding.
        grids, scores = jax.lax.map(lambda each: self._score(bank, each), self._patches(maps))
        anomaly_map = to_pixels(grids, size, self.smoothing)
        over = {score: split_name(score)[1] for score in self.scores}
        return {
            score: Scored(anomaly_map, scores if each is MAXIMUM else each.of_maps(anomaly_map))
            for score, each in over.items()
        }

    @property
    def _needed(self) -> int:
        """Return how many vectors a score looks for."""
        return max(self.neighbours, self.support if self.reweighting else 1)

    def _patches(self, maps: Sequence[jax.Array]) -> jax.Array:
        """Give the vectors f[b, h, w, c] that are compared."""
        if self.unit:
            maps = [
                m / jnp.maximum(jnp.linalg.norm(m, axis=-1, keepdims=True), 1e-12) for m in maps
            ]
        return align([average_neighbourhood(m, self.neighbourhood) for m in maps])

    def _score(self, bank: jax.Array, patches: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Score the patches f[h, w, c] of one image: a map f[h, w] and a score f[]."""
        queries = patches.reshape(-1, patches.shape[-1])
        distances, indices = nearest(queries, bank, self.neighbours)
        means = distances.mean(-1)
        score = means.max()
        if self.reweighting:
            worst = means.argmax()
            score *= _weight(queries[worst], bank, indices[worst, 0], self.support)
        return means.reshape(patches.shape[:-1]), score

    def _update(
        self, variables: Variables, carry: Drawn, maps: Sequence[jax.Array], valid: np.ndarray
    ) -> Drawn:
        patches = np.asarray(self._patches(maps), np.float32)[valid]
        return draw(carry, patches, int(variables["constants"]["seed"]), self.bank)

    def _finish(self, variables: Variables, carry: Drawn) -> Variables:
        constants = variables["constants"]
        vectors, _ = carry.joined()
        if self.coreset is not None:
            count = max(1, round(self.coreset * len(vectors)))
            kept = choose_coreset(vectors, count, self.projection, int(constants["seed"]))
            vectors = vectors[kept]
        if len(vectors) < self._needed:
            raise InputError(
                f"memory bank: {len(vectors)} vectors of {carry.images} normal images are kept, "
                f"expected at least {self._needed}, as many as neighbours or support; keep more, "
                "or set neighbours and support to fewer"
            )
        return {**variables, "constants": {**constants, "bank": jnp.asarray(vectors)}}


def _weight(query: jax.Array, bank: jax.Array, match: jax.Array, support: int) -> jax.Array:
    """Return Eq. 7's factor f[] of PatchCore for a query f[c] whose nearest is `bank[match]`."""
    _, around = nearest(bank[match][None], bank, support)
    distances = jnp.linalg.norm(query[None] - bank[around[0]], axis=-1)
    distance = jnp.linalg.norm(query - bank[match])
    return 1.0 - jnp.exp(distance - jax.nn.logsumexp(distances))
