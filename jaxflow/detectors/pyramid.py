"""A flow for each feature map of an encoder."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
from flax import linen as nn

from jaxflow.detectors.normalization import NORMALIZATIONS
from jaxflow.flows import position_log_prob


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

    Raises:
      ValueError: if the normalization is unknown, or another number of maps is given.

    Reference: arXiv 2111.07677, section 3.2.
    """

    flow: Callable[[], nn.Module]
    maps: int
    normalization: str = "layer_norm"

    def setup(self):
        """Make a normalization and a flow for each map."""
        if self.normalization not in NORMALIZATIONS:
            known = ", ".join(NORMALIZATIONS)
            raise ValueError(f"normalization must be one of {known}, got {self.normalization!r}")
        self.normalizations = [NORMALIZATIONS[self.normalization]() for _ in range(self.maps)]
        self.flows = [self.flow() for _ in range(self.maps)]

    def __call__(self, feature_maps: Sequence[jax.Array]) -> tuple[Latent, ...]:
        """Map each f[b, h_i, w_i, c_i] to its latent."""
        if len(feature_maps) != self.maps:
            raise ValueError(f"expected {self.maps} feature maps, got {len(feature_maps)}")
        latents = []
        for x, normalize, flow in zip(feature_maps, self.normalizations, self.flows, strict=True):
            x, outer = normalize(x)
            z, log_det = flow.forward_and_log_det(x)
            latents.append(Latent(z, log_det + outer))
        return tuple(latents)
