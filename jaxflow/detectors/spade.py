"""SPADE: nearest neighbours among the features of the nearest images."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxflow.detectors.contract import Pass, Scored, Untrained, Variables
from jaxflow.detectors.grid import align, check_smoothing, to_pixels
from jaxflow.detectors.neighbours import nearest
from jaxflow.encoders import Encoder
from jaxflow.errors import InputError
from jaxflow.flows.arguments import check_choice, check_count


@dataclasses.dataclass(frozen=True, eq=False)
class Spade(Untrained):
    """Compare an image with the normal images that are most like it, in two steps.

    The anomaly score is the mean squared Euclidean distance of its last map, averaged over
    positions, from those of the nearest `images` normal images. The anomaly map is, for each
    position, the mean squared distance from the `neighbours` nearest vectors anywhere in these
    images; vectors are the maps resized to the first one's grid and concatenated.

    The variables hold all maps of all normal images (300 images, 32 x 32 x 128 and 16 x 16 x 256:
    240 MB), the pass as much again; a score makes the vectors of `images` images at a time.

    Attributes:
      encoder: gives the feature maps.
      scores: "distance".
      images: normal images that are compared with; the paper's K.
      neighbours: vectors whose squared distances are averaged; the paper's kappa.
      smoothing: standard deviation of the Gaussian filter of the anomaly maps, pixels; 0: none.

    Raises:
      ValueError: if an option is wrong.

    Reference: SPADE, arXiv 2005.02357.
    """

    encoder: Encoder
    scores: tuple[str, ...] = ("distance",)
    images: int = 50
    neighbours: int = 1
    smoothing: float = 4.0

    meanings: ClassVar[Mapping[str, str]] = {
        "distance": "the squared Euclidean distance of the features from the nearest features of "
        "the most similar normal images: 0 for features that were seen; it has no upper end.",
    }

    def __post_init__(self):
        for score in self.scores:
            check_choice("score", score, self.meanings)
        check_count("images", self.images)
        check_count("neighbours", self.neighbours)
        check_smoothing(self.smoothing)

    @property
    def before(self) -> tuple[Pass, ...]:
        """Return the pass that keeps the maps."""
        return (Pass(lambda variables: (), self._update, self._finish),)

    def init(self, key: jax.Array, size: tuple[int, int]) -> Variables:
        """Start without images; the pass makes the first axis of each array as long as they are.

        Args:
          key: not used; nothing is drawn.
          size: (height, width) of the input, pixels.

        Returns:
          `constants`: map_i f32[0, h_i, w_i, c_i] for each map, and pooled f32[0, c], the average
          of the last; `params` is empty.

        Raises:
          InputError: if the encoder cannot take that size.
        """
        del key
        sizes = self.encoder.map_sizes(size)
        constants = {
            f"map_{i}": jnp.zeros((0, *s, c), jnp.float32)
            for i, (s, c) in enumerate(zip(sizes, self.encoder.channels, strict=True))
        }
        constants["pooled"] = jnp.zeros((0, self.encoder.channels[-1]), jnp.float32)
        return {"params": {}, "constants": constants}

    def score(
        self, variables: Variables, maps: Sequence[jax.Array], size: tuple[int, int]
    ) -> dict[str, Scored]:
        """Score images by their feature maps; see the contract.

        Raises:
          ValueError: if there are fewer normal images than `images`.
        """
        constants = variables["constants"]
        normal = [constants[f"map_{i}"] for i in range(len(maps))]
        pooled = constants["pooled"]
        if len(pooled) < self.images:
            raise ValueError(f"variables must hold {self.images} images, got {len(pooled)}")

        def score(maps):
            squares = jnp.square(maps[-1].mean((0, 1))[None] - pooled).sum(-1)
            negative, similar = jax.lax.top_k(-squares, self.images)
            gallery = align([m[similar] for m in normal])
            queries = align([m[None] for m in maps])[0]
            channels = queries.shape[-1]
            distances, _ = nearest(
                queries.reshape(-1, channels), gallery.reshape(-1, channels), self.neighbours
            )
            grid = jnp.square(distances).mean(-1).reshape(queries.shape[:-1])
            return grid, -negative.mean()

        grids, scores = jax.lax.map(score, tuple(maps))
        scored = Scored(to_pixels(grids, size, self.smoothing), scores)
        return {score: scored for score in self.scores}

    def _update(
        self, variables: Variables, carry: tuple, maps: Sequence[jax.Array], valid: np.ndarray
    ) -> tuple:
        return (*carry, [np.asarray(m, np.float32)[valid] for m in maps])

    def _finish(self, variables: Variables, carry: tuple) -> Variables:
        maps = [np.concatenate(batches) for batches in zip(*carry, strict=True)]
        if len(maps[0]) < self.images:
            raise InputError(
                f"spade: {len(maps[0])} normal images, expected at least {self.images}, as many as "
                "an image is compared with; add images or set images to fewer"
            )
        constants = {f"map_{i}": jnp.asarray(m) for i, m in enumerate(maps)}
        constants["pooled"] = jnp.asarray(maps[-1].mean((1, 2)))
        return {**variables, "constants": constants}
