"""The whole detector: images in, anomaly maps out."""

import dataclasses
from collections.abc import Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp

from jaxflow.detectors.pyramid import FlowPyramid, Latent
from jaxflow.detectors.scores import MAXIMA, USUAL_SCORES, anomaly_map
from jaxflow.encoders import Encoder


@dataclasses.dataclass(frozen=True, eq=False)
class Detector:
    """A frozen encoder and the flows over its feature maps.

    Attributes:
      encoder: gives the feature maps.
      pyramid: one flow a map.
      scores: keys of `SCORES` that are reported.

    Example: with `detector = Detector(encoder, pyramid)`,
      `jax.jit(detector.anomaly_maps)(encoder.variables, variables, images)`.
    """

    encoder: Encoder
    pyramid: FlowPyramid
    scores: tuple[str, ...] = USUAL_SCORES

    def init(self, key: jax.Array, size: tuple[int, int]) -> dict[str, Any]:
        """Draw the pyramid's variables for inputs of (height, width): `params`, `constants`.

        Raises:
          InputError: if the encoder cannot take that size.
        """
        sizes = self.encoder.map_sizes(size)
        maps = [
            jax.ShapeDtypeStruct((1, *s, c), jnp.float32)
            for s, c in zip(sizes, self.encoder.channels, strict=True)
        ]
        # A draw compiles once for all steps of a shape; under `jax.jit`, once for each parameter.
        return dict(self.pyramid.lazy_init(key, maps))

    def latents(
        self, variables: dict[str, Any], feature_maps: Sequence[jax.Array]
    ) -> tuple[Latent, ...]:
        """Run feature maps f32[b, h_i, w_i, c_i] through their flows."""
        return cast(tuple[Latent, ...], self.pyramid.apply(variables, feature_maps))

    def anomaly_maps(
        self,
        encoder_variables: Any,
        variables: dict[str, Any],
        images: jax.Array,
        scores: Sequence[str] | None = None,
    ) -> dict[str, jax.Array]:
        """Score every pixel of every image; each image alone decides its scores.

        Args:
          encoder_variables: `encoder.variables`.
          variables: of the pyramid; for the scores of `SCORES_WITH_MAXIMA` their `constants` also
            hold `log_prob_maxima` f32[maps].
          images: u8[b, h, w, 3].
          scores: keys of `SCORES`; None: the detector's own.

        Returns:
          For each score f32[b, h, w]; higher is more anomalous.
        """
        latents = self.latents(variables, self.encoder(encoder_variables, images))
        size = (images.shape[1], images.shape[2])
        maxima = variables.get("constants", {}).get(MAXIMA)
        return {
            score: anomaly_map(latents, size, score, maxima)
            for score in (self.scores if scores is None else scores)
        }
