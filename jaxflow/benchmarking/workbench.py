"""Time the parts of a detector on random images, over all local devices."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax

from jaxflow.benchmarking.clock import Timing, measure
from jaxflow.detectors import MAXIMA, Detector
from jaxflow.parallel import over_devices, replicate, shard
from jaxflow.training import create_state


class Workbench:
    """Runs the parts of a detector as training and scoring run them, and times them.

    Images and weights lie on the devices before a call and results stay there: reading and copying
    images are not in the figures.

    Args:
      detector: encoder and flows.
      size: (height, width) of the images, pixels.
      repeats: timed calls, at least 1.
      seed: of the flows' parameters and of the images.

    Raises:
      InputError: if the encoder cannot take that size.
    """

    def __init__(self, detector: Detector, size: tuple[int, int], *, repeats: int, seed: int = 0):
        self._detector = detector
        self._size = size
        self._repeats = repeats
        self._seed = seed
        self._variables = detector.init(jax.random.key(seed), size)
        self._frozen = replicate(detector.encoder.variables)

    @property
    def flow_parameters(self) -> int:
        """Trained numbers, those of the encoder not among them."""
        return sum(leaf.size for leaf in jax.tree.leaves(self._variables["params"]))

    @property
    def encoder_mb(self) -> float:
        """Size of the encoder's weights as built (only the stages read), 10^6 bytes."""
        return _megabytes(self._detector.encoder.variables)

    @property
    def flow_mb(self) -> float:
        """Size of the flows' parameters and constants, 10^6 bytes."""
        return _megabytes(self._variables)

    def encoder(self, batch: int) -> Timing:
        """Time the encoder alone: images u8[batch, h, w, 3] to feature maps."""
        return self._measure(
            over_devices(self._detector.encoder), self._frozen, self._images(batch)
        )

    def scoring(self, batch: int, score: str) -> Timing:
        """Time images u8[batch, h, w, 3] to anomaly maps.

        Args:
          batch: images, over all devices.
          score: a key of `jaxflow.detectors.SCORES`.
        """

        def anomaly_maps(frozen: Any, variables: Any, images: jax.Array) -> dict[str, jax.Array]:
            return self._detector.anomaly_maps(frozen, variables, images, (score,))

        # Speed does not depend on the reference that some scores compare with.
        maxima = jax.numpy.zeros(self._detector.pyramid.maps)
        constants = {**self._variables.get("constants", {}), MAXIMA: maxima}
        variables = replicate({**self._variables, "constants": constants})
        return self._measure(
            over_devices(anomaly_maps), self._frozen, variables, self._images(batch)
        )

    def training(
        self,
        batch: int,
        step: Callable,
        optimizer: optax.GradientTransformation,
        *,
        kept_features: bool,
    ) -> Timing:
        """Time a training step, with all of its optimizer steps.

        Args:
          batch: images of the step, over all devices.
          step: as `jaxflow.training.make_train_step` makes it.
          optimizer: of optax, that of the step.
          kept_features: whether the step starts from feature maps rather than from images.
        """
        images = self._images(batch)
        encode = over_devices(self._detector.encoder)
        inputs = encode(self._frozen, images) if kept_features else images
        state = replicate(create_state(self._variables, optimizer, self._seed))
        frozen = {} if kept_features else self._frozen
        return measure(
            step,
            (state, frozen, inputs),
            repeats=self._repeats,
            advance=lambda arguments, result: (result[0], *arguments[1:]),
        )

    def _images(self, batch: int) -> jax.Array:
        rng = np.random.default_rng(self._seed)
        images = rng.integers(0, 256, (batch, *self._size, 3), np.uint8)
        return over_devices(lambda x: x)(shard(images))

    def _measure(self, function: Any, *arguments: Any) -> Timing:
        return measure(function, arguments, repeats=self._repeats)


def _megabytes(tree: Any) -> float:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree)) / 1e6
