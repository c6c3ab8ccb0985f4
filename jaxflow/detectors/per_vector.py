"""What detectors share that judge each feature vector by itself, wherever in the image it lies."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

import jax
import jax.numpy as jnp
import numpy as np

from jaxflow.detectors.contract import Likelihood, Pass, Scored, Untrained, Variables
from jaxflow.detectors.draw import Drawn, draw
from jaxflow.detectors.grid import check_smoothing, to_pixels
from jaxflow.detectors.over_maps import mean
from jaxflow.detectors.over_positions import Meanings, split_name
from jaxflow.encoders import Encoder
from jaxflow.flows.arguments import check_choice, check_count, check_share
from jaxflow.flows.whiten import Radial

Constants = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True, eq=False)
class PerVector(Untrained):
    """Learn from vectors that are drawn from each map of normal images, and judge every vector.

    An author of another one writes `empty`, `fit`, `judge`, and its `meanings`.

    Attributes:
      encoder: gives the feature maps.
      scores: names, also with an end of `OVER_POSITIONS`.
      pooled: whether each map is first averaged over its positions: one vector a map and image, and
        an anomaly map with the same value at every pixel.
      vectors: at most so many of each map are learned from, drawn at random; None: all.
      smoothing: standard deviation of the Gaussian filter of the anomaly maps, pixels; 0: none.

    Raises:
      ValueError: if an option is wrong.
    """

    encoder: Encoder
    scores: tuple[str, ...] = ()
    pooled: bool = False
    vectors: int | None = 20_000
    smoothing: float = 4.0

    meanings: ClassVar[Mapping[str, str]] = Meanings({})

    def __post_init__(self):
        for score in self.scores:
            check_choice("score", score, self.meanings)
        if self.vectors is not None:
            check_count("vectors", self.vectors)
        check_smoothing(self.smoothing)

    def empty(self, channels: int) -> Constants:
        """Return the constants of a map before anything is learned."""
        raise NotImplementedError(f"{type(self).__name__} must define empty")

    def fit(self, drawn: Drawn, seed: int) -> Constants:
        """Learn the constants of a map from its vectors.

        Args:
          drawn: vectors f32[n, c] of normal images, and whose they are.
          seed: of every draw.
        """
        raise NotImplementedError(f"{type(self).__name__} must define fit")

    def judge(self, constants: Constants, x: jax.Array) -> jax.Array:
        """Return the score f[n] of vectors x f[n, c]; higher is more anomalous."""
        raise NotImplementedError(f"{type(self).__name__} must define judge")

    @property
    def before(self) -> tuple[Pass, ...]:
        """Return the pass that draws the vectors, and learns from them at its end."""
        return (Pass(self._start, self._update, self._finish),)

    def init(self, key: jax.Array, size: tuple[int, int]) -> Variables:
        """Start with nothing learned; how long some arrays become depends on the images.

        Args:
          key: of every draw of the pass.
          size: (height, width) of the input, pixels.

        Returns:
          `constants`: map_i for each map, as `empty` gives it, and seed u32[]; `params` is empty.

        Raises:
          InputError: if the encoder cannot take that size.
        """
        self.encoder.map_sizes(size)
        maps = {f"map_{i}": self.empty(c) for i, c in enumerate(self.encoder.channels)}
        seed = jax.random.bits(key, dtype=jnp.uint32)
        return {"params": {}, "constants": {**maps, "seed": seed}}

    def score(
        self, variables: Variables, maps: Sequence[jax.Array], size: tuple[int, int]
    ) -> dict[str, Scored]:
        """Score images by their feature maps; see the contract.

        The anomaly map is the mean of what `judge` finds on each map, resized.
        """
        grids = self.over_maps(self.judge, variables, maps)
        anomaly_map = to_pixels(mean(grids, size), size, self.smoothing)
        return {
            score: Scored(anomaly_map, split_name(score)[1].of_maps(anomaly_map))
            for score in self.scores
        }

    def over_maps(
        self, of_vectors: Any, variables: Variables, maps: Sequence[jax.Array]
    ) -> list[jax.Array]:
        """Return (constants, f[n, c]) -> f[n] of every position of each map, f[b, h, w]."""

        def of_map(i: int, x: jax.Array) -> jax.Array:
            constants = variables["constants"][f"map_{i}"]

            def of_image(each: jax.Array) -> jax.Array:
                found = of_vectors(constants, each.reshape(-1, each.shape[-1]))
                return found.reshape(each.shape[:-1])

            # One image at a time: bounded memory, and no image changes another's rounding.
            return jax.lax.map(of_image, x)

        return [of_map(i, x) for i, x in enumerate(self._vectors(maps))]

    def _vectors(self, maps: Sequence[jax.Array]) -> list[jax.Array]:
        return [m.mean((1, 2), keepdims=True) if self.pooled else jnp.asarray(m) for m in maps]

    def _start(self, variables: Variables) -> list[Drawn]:
        return [Drawn() for _ in self.encoder.channels]

    def _update(
        self,
        variables: Variables,
        carry: list[Drawn],
        maps: Sequence[jax.Array],
        valid: np.ndarray,
    ) -> list[Drawn]:
        seed = int(variables["constants"]["seed"])
        return [
            draw(drawn, np.asarray(x, np.float32)[valid], seed, self.vectors)
            for drawn, x in zip(carry, self._vectors(maps), strict=True)
        ]

    def _finish(self, variables: Variables, carry: list[Drawn]) -> Variables:
        constants = variables["constants"]
        seed = int(constants["seed"])
        fitted = {f"map_{i}": self.fit(drawn, seed) for i, drawn in enumerate(carry)}
        return {**variables, "constants": {**constants, **fitted}}


@dataclasses.dataclass(frozen=True, eq=False)
class VectorDensity(PerVector):
    """An exact density of single vectors of each map, the same at all positions.

    The density is that of `r(x) = x / |x|^exponent`; with r's log-determinant it is the exact
    density of x. An author of another one writes `empty`, `fit` and `log_density`.

    Attributes:
      exponent: of r, from 0, where `r(x) = x`, to below 1; see `Radial`.
      **others: see `PerVector`.
    """

    scores: tuple[str, ...] = ("nll",)
    exponent: float = 0.9

    meanings: ClassVar[Mapping[str, str]] = Meanings(
        {
            "nll": "the negative log-likelihood of the features under the density, in nats per "
            "dimension. The larger, the less likely; it has no fixed zero.",
        }
    )

    def __post_init__(self):
        super().__post_init__()
        check_share("exponent", self.exponent)

    def log_density(self, constants: Constants, r: jax.Array) -> jax.Array:
        """Return the log-density f[n] of vectors r f[n, c], nats."""
        raise NotImplementedError(f"{type(self).__name__} must define log_density")

    def shorten(self, vectors: np.ndarray) -> np.ndarray:
        """Return r f64[n, c] of vectors x f[n, c], to fit by."""
        return np.asarray(self._radial.apply({}, jnp.asarray(vectors)), np.float64)

    def judge(self, constants: Constants, x: jax.Array) -> jax.Array:
        """Return the negative log-likelihood f[n] of vectors x f[n, c], nats per dimension."""
        return -self._log_prob(constants, x) / x.shape[-1]

    def log_prob(self, variables: Variables, maps: Sequence[jax.Array]) -> list[jax.Array]:
        """Compute the exact log-likelihood f[b, h_i, w_i] of each position of each map, nats.

        Pooled: f[b, 1, 1], of each average.
        """
        return self.over_maps(self._log_prob, variables, maps)

    @property
    def likelihood(self) -> Likelihood:
        """Return that of all positions of all maps as independent vectors."""

        def nats(variables: Variables, maps: Sequence[jax.Array]) -> jax.Array:
            found = self.log_prob(variables, maps)
            total = jnp.stack([each.sum((1, 2)) for each in found]).sum(0)
            counts = zip(found, self.encoder.channels, strict=True)
            return -total / sum(each[0].size * c for each, c in counts)

        return Likelihood(nats, "averages of the maps" if self.pooled else "")

    @property
    def _radial(self) -> Radial:
        return Radial(self.exponent)

    def _log_prob(self, constants: Constants, x: jax.Array) -> jax.Array:
        applied = self._radial.apply({}, x, method="forward_and_log_det")
        r, log_det = cast(tuple[jax.Array, jax.Array], applied)
        return self.log_density(constants, r) + log_det
