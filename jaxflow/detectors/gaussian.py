"""Multivariate Gaussians of features: PaDiM, and the Mahalanobis distance of pooled features."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

import jax
import jax.numpy as jnp
import numpy as np

from jaxflow.detectors.contract import Likelihood, Pass, Scored, Untrained, Variables
from jaxflow.detectors.covariance import (
    SHARED,
    Moments,
    add_vectors,
    check_shrinkage,
    whitening_of,
)
from jaxflow.detectors.grid import align, check_smoothing, to_pixels
from jaxflow.detectors.over_positions import Meanings, split_name
from jaxflow.encoders import Encoder
from jaxflow.flows.arguments import check_choice, check_count, check_share
from jaxflow.flows.likelihood import position_log_prob
from jaxflow.flows.whiten import Whiten


@dataclasses.dataclass(frozen=True, eq=False)
class Gaussian(Untrained):
    """Fit Gaussians to normal features; a score is how far from their mean features are.

    Not pooled: PaDiM. The maps are resized to the first one's grid and concatenated; each position
    of this grid has its own Gaussian. Pooled: the Mahalanobis distance of Rippel et al. Each map is
    averaged over its positions and has one Gaussian, and the distances of the maps are added. This
    knows no positions: its anomaly map has the same value at every pixel.

    `z = W (r(x) - mean)` with `r(x) = x / |x|^exponent` and the inverse W of the covariance's
    Cholesky factor, so `log p(x) = log |det r'(x)| + sum log diag W - |z|^2 / 2 - c / 2 log 2 pi`:
    the flow `Whiten`.

    The pass holds 8 h w c^2 bytes, the variables 4 h w c^2: for 32 x 32 positions and 384 channels
    1.2 GB and 600 MB; for 64 x 64 positions 330 MB and 160 MB with 100 channels, 6.6 GB and 3.3 GB
    with 448.

    Attributes:
      encoder: gives the feature maps.
      scores: "mahalanobis" and "nll", also with an end of `OVER_POSITIONS`: "nll-top".
      pooled: whether positions are averaged first.
      channels: how many channels, drawn at random by `init`, the Gaussians keep; None: all. Only
        where not pooled. All find more synthetic defects on held-out normal images than 100 of 384.
      exponent: of r, from 0, where `r(x) = x`, to below 1. Held-out normal images are most likely
        at .8 to .95.
      shrinkage: of the covariance. "shared" mixes it with the mean covariance of all positions, see
        `shared_target`. A number is added to the diagonal of the unbiased estimate (PaDiM: 0.01).
        "ledoit_wolf" (Rippel et al.) and "oas" mix the estimate with a multiple of the identity, as
        scikit-learn's LedoitWolf and OAS do. All but a number add a millionth of the mean variance.
        Held-out normal images are most likely by "shared".
      smoothing: standard deviation of the Gaussian filter of the anomaly maps, pixels; 0: none.

    Raises:
      ValueError: if an option is wrong.

    Reference: PaDiM, arXiv 2011.08785; Mahalanobis, arXiv 2005.14140.
    """

    encoder: Encoder
    scores: tuple[str, ...] = ("mahalanobis", "nll")
    pooled: bool = False
    channels: int | None = None
    exponent: float = 0.9
    shrinkage: float | str = SHARED
    smoothing: float = 4.0

    meanings: ClassVar[Mapping[str, str]] = Meanings(
        {
            "mahalanobis": "the Mahalanobis distance of the features from the mean of normal ones: "
            "0 at the mean; normal features of c channels lie around the square root of c.",
            "nll": "the negative log-likelihood of the features under the Gaussian, in nats per "
            "dimension. The larger, the less likely; it has no fixed zero.",
        }
    )

    def __post_init__(self):
        for score in self.scores:
            check_choice("score", score, self.meanings)
        self._check_channels()
        check_share("exponent", self.exponent)
        check_shrinkage(self.shrinkage)
        check_smoothing(self.smoothing)

    def _check_channels(self) -> None:
        if self.channels is None:
            return
        check_count("channels", self.channels)
        if self.pooled:
            raise ValueError("channels must be None where pooled, which keeps all channels")
        if self.channels > sum(self.encoder.channels):
            raise ValueError(
                f"channels must be at most {sum(self.encoder.channels)}, as many as "
                f"{self.encoder.name} has at stages {list(self.encoder.stages)}, "
                f"got {self.channels}"
            )

    @property
    def before(self) -> tuple[Pass, ...]:
        """Return the pass that fits the Gaussians."""
        return (Pass(self._start, self._update, self._finish),)

    def init(self, key: jax.Array, size: tuple[int, int]) -> Variables:
        """Draw the channels and start from standard normals.

        Args:
          key: of the draw.
          size: (height, width) of the input, pixels.

        Returns:
          `constants`: for each Gaussian or grid of them mean f[h, w, c], whitening f[h, w, c, c],
          images f[] and own f[h, w], see `Whiten`, and, where not pooled, channels i32[c]; `params`
          is empty. Float64 where JAX has it enabled, else float32.

        Raises:
          InputError: if the encoder cannot take that size.
        """
        sizes = self.encoder.map_sizes(size)
        if self.pooled:
            constants: Variables = {}
            shapes = [(1, 1, c) for c in self.encoder.channels]
        else:
            total = sum(self.encoder.channels)
            drawn = jax.random.permutation(key, total)[: self.channels]
            constants = {"channels": jnp.sort(drawn).astype(jnp.int32)}
            shapes = [(*sizes[0], len(drawn))]
        for i, shape in enumerate(shapes):
            identity = jnp.eye(shape[-1], dtype=float)[None, None]
            constants[f"gaussian_{i}"] = {
                "mean": jnp.zeros(shape, float),
                "whitening": jnp.broadcast_to(identity, (*shape, shape[-1])),
                "images": jnp.zeros((), float),
                "own": jnp.zeros(shape[:-1], float),
            }
        return {"params": {}, "constants": constants}

    def log_prob(self, variables: Variables, maps: Sequence[jax.Array]) -> jax.Array:
        """Compute the exact log-likelihood of what the Gaussians see at each position.

        It is the likelihood of the encoder's own features where there is one map and all channels
        are kept; otherwise that of the resized and chosen, or averaged, features.

        Args:
          variables: as `init` made them and the pass filled them.
          maps: one f[b, h_i, w_i, c_i] an encoder stage.

        Returns:
          f[b, h, w], nats; pooled: f[b, 1, 1], of all maps together.
        """
        latents = self._whiten(variables, maps)
        return jnp.stack([position_log_prob(z, log_det) for z, log_det in latents]).sum(0)

    @property
    def likelihood(self) -> Likelihood:
        """Return that of `log_prob`, and where it is not of the encoder's own features."""

        def nats(variables: Variables, maps: Sequence[jax.Array]) -> jax.Array:
            return -self.log_prob(variables, maps).mean((1, 2)) / self._dimensions

        total = sum(self.encoder.channels)
        reasons = {
            "averages of the maps": self.pooled,
            f"{self.channels} of {total} channels": self._dimensions < total,
            "maps resized to one grid": len(self.encoder.channels) > 1,
        }
        return Likelihood(nats, next((what for what, holds in reasons.items() if holds), ""))

    def score(
        self, variables: Variables, maps: Sequence[jax.Array], size: tuple[int, int]
    ) -> dict[str, Scored]:
        """Score images by their feature maps; see the contract.

        The anomaly score of an image is the maximum of its smoothed anomaly map, or what the end
        of the score's name says.
        """
        scored = {}
        for score in self.scores:
            name, over_positions = split_name(score)
            if name == "nll":
                grid = -self.log_prob(variables, maps) / self._dimensions
            else:
                latents = self._whiten(variables, maps)
                grid = jnp.stack([jnp.linalg.norm(z, axis=-1) for z, _ in latents]).sum(0)
            anomaly_map = to_pixels(grid, size, self.smoothing)
            scored[score] = Scored(anomaly_map, over_positions.of_maps(anomaly_map))
        return scored

    @property
    def _dimensions(self) -> int:
        return self.channels or sum(self.encoder.channels)

    def _vectors(self, variables: Variables, maps: Sequence[jax.Array]) -> list[jax.Array]:
        """Give what each Gaussian, or grid of them, is fitted to: f[b, h, w, c]."""
        if self.pooled:
            return [m.mean((1, 2), keepdims=True) for m in maps]
        return [align(maps)[..., variables["constants"]["channels"]]]

    @property
    def _flow(self) -> Whiten:
        return Whiten(exponent=self.exponent)

    def _whiten(
        self, variables: Variables, maps: Sequence[jax.Array]
    ) -> list[tuple[jax.Array, jax.Array]]:
        """Map vectors to z f[b, h, w, c], standard normal where the Gaussian is right, and log_det.

        log_det is f[b, h, w], nats.
        """
        constants, whitened = variables["constants"], []
        for i, x in enumerate(self._vectors(variables, maps)):
            own: Any = {"constants": constants[f"gaussian_{i}"]}
            whitened.append(self._flow.apply(own, x, method="forward_and_log_det"))
        return cast(list[tuple[jax.Array, jax.Array]], whitened)

    def _start(self, variables: Variables) -> list[Moments]:
        constants = variables["constants"]
        shapes = [g["mean"].shape for name, g in constants.items() if name != "channels"]
        return [Moments.start(*shape) for shape in shapes]

    def _update(
        self,
        variables: Variables,
        carry: list[Moments],
        maps: Sequence[jax.Array],
        valid: np.ndarray,
    ) -> list[Moments]:
        vectors = [self._flow.radial.apply({}, x) for x in self._vectors(variables, maps)]
        return [
            add_vectors(moments, np.asarray(x, np.float64)[valid])
            for moments, x in zip(carry, vectors, strict=True)
        ]

    def _finish(self, variables: Variables, carry: list[Moments]) -> Variables:
        constants = dict(variables["constants"])
        for i, moments in enumerate(carry):
            constants[f"gaussian_{i}"] = whitening_of(moments, self.shrinkage)
        return {**variables, "constants": constants}
