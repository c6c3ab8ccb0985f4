"""A flow for each feature map of an encoder."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
from flax import linen as nn

from jaxflow.detectors.conditions import CONDITIONS
from jaxflow.detectors.normalization import NORMALIZATIONS
from jaxflow.flows import position_log_prob
from jaxflow.flows.arguments import check_array, check_callable, check_choice, check_count


class Latent(NamedTuple):
    """What a flow makes of one feature map.

    Attributes:
      z: f[b, h, w, c], standard normal for normal images.
      log_det: f[b, h, w], nats, the normalization's included where it is a bijection.
    """

    z: jax.Array
    log_det: jax.Array

    def log_prob(self) -> jax.Array:
        """Return the exact log-likelihood f[b, h, w] of each position, nats."""
        return position_log_prob(self.z, self.log_det)


class FlowPyramid(nn.Module):
    """Normalize each feature map and run it through a flow of its own.

    Attributes:
      flow: makes one flow of `jaxflow.flows`.
      maps: number of feature maps.
      normalization: a key of `NORMALIZATIONS`.
      condition: a key of `CONDITIONS`; every flow is given that of its map's size.
      condition_dim: channels of the condition.

    Raises:
      ValueError: if the normalization or the condition is unknown, the condition cannot have that
        many channels, another number of maps is given, or one is not f[b, h, w, c].

    Reference: arXiv 2111.07677, section 3.2; arXiv 2107.12571, section 4.2, for the condition.
    """

    flow: Callable[[], nn.Module]
    maps: int
    normalization: str = "layer_norm"
    condition: str = "none"
    condition_dim: int = 128

    def setup(self):
        """Make a normalization and a flow for each map."""
        check_callable("flow", self.flow, "a function that makes a flow")
        check_count("maps", self.maps)
        check_choice("normalization", self.normalization, NORMALIZATIONS)
        check_choice("condition", self.condition, CONDITIONS)
        self.normalizations = [NORMALIZATIONS[self.normalization]() for _ in range(self.maps)]
        self.flows = [self.flow() for _ in range(self.maps)]

    def __call__(self, feature_maps: Sequence[jax.Array]) -> tuple[Latent, ...]:
        """Map each f[b, h_i, w_i, c_i] to its latent."""
        latents = []
        for i, (x, outer) in enumerate(self.normalize(feature_maps)):
            code = self.code(x.shape[1], x.shape[2])
            z, log_det = self.flows[i].forward_and_log_det(x, code)
            latents.append(Latent(z, log_det + outer))
        return tuple(latents)

    def normalize(
        self, feature_maps: Sequence[jax.Array]
    ) -> tuple[tuple[jax.Array, jax.Array | float], ...]:
        """Return each map normalized and the normalization's log_det, nats a position."""
        if len(feature_maps) != self.maps:
            raise ValueError(f"expected {self.maps} feature maps, got {len(feature_maps)}")
        for i, x in enumerate(feature_maps):
            if check_array(f"feature_maps[{i}]", x).ndim != 4:
                raise ValueError(f"feature_maps[{i}] must be f[b, h, w, c], got shape {x.shape}")
        return tuple(
            normalize(x) for x, normalize in zip(feature_maps, self.normalizations, strict=True)
        )

    def code(self, height: int, width: int) -> jax.Array | None:
        """Return the condition f32[height, width, condition_dim] of a map, or None."""
        return CONDITIONS[self.condition](height, width, self.condition_dim)

    def log_prob(self, i: int, x: jax.Array, condition: jax.Array | None) -> jax.Array:
        """Return flow i's exact log-likelihood f[...] of normalized vectors f[..., c], nats.

        Only for flows that look at every vector alone.

        Args:
          i: number of the map.
          x: f[..., c].
          condition: f[..., condition_dim] of each vector, or None.
        """
        return position_log_prob(*self.flows[i].forward_and_log_det(x, condition))
