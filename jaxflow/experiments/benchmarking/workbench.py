"""Time the parts of a detector on random images, over all local devices."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxflow.detectors import Detector, Variables
from jaxflow.experiments.benchmarking.clock import Timing, measure
from jaxflow.experiments.benchmarking.operations import count_operations
from jaxflow.parallel import BATCH, PMAP, REPLICATED, Devices
from jaxflow.training import Encode, Recipe, as_maps, create_state, make_step


class Workbench:
    """Runs the parts of a detector as training and scoring run them, and times them.

    Images and weights lie on the devices before a call and results stay there: reading and copying
    images are not in the figures.

    Args:
      detector: encoder and flows.
      size: (height, width) of the images, pixels.
      repeats: timed calls, at least 1.
      seed: of the flows' parameters and of the images.
      devices: run the parts.
      variables: of a detector that has learned; None: as `init` draws them.

    Raises:
      InputError: if the encoder cannot take that size.
    """

    def __init__(
        self,
        detector: Detector,
        size: tuple[int, int],
        *,
        repeats: int,
        seed: int = 0,
        devices: Devices = PMAP,
        variables: Variables | None = None,
    ):
        self._detector = detector
        self._size = size
        self._repeats = repeats
        self._seed = seed
        self._devices = devices
        if variables is None:
            variables = detector.init(jax.random.key(seed), size)
        self._variables = variables
        self._frozen = devices.replicate(detector.encoder.variables)

    @property
    def trained(self) -> bool:
        """Whether there is a training step."""
        return self._detector.objective is not None

    @property
    def flow_parameters(self) -> int:
        """Trained numbers, those of the encoder not among them."""
        return sum(leaf.size for leaf in jax.tree.leaves(self._variables["params"]))

    @property
    def operations(self) -> tuple[int, int]:
        """Operations for one image: the encoder's, and the detector's on top of them.

        See `count_operations`.
        """
        encoder, image = self._detector.encoder, np.zeros((1, *self._size, 3), np.uint8)
        maps = jax.eval_shape(encoder, encoder.variables, image)

        def score(variables: Any, maps: Any) -> Any:
            return self._detector.score(variables, maps, self._size)

        return (
            count_operations(encoder, encoder.variables, image),
            count_operations(score, self._variables, maps),
        )

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
        return self._measure(self._encode(), self._frozen, self._images(batch))

    def scoring(self, batch: int) -> Timing:
        """Time images u8[batch, h, w, 3] to the detector's scores; images over all devices."""

        def score(frozen: Any, variables: Any, images: jax.Array) -> Any:
            maps = self._detector.encoder(frozen, images)
            return self._detector.score(variables, maps, self._size)

        run = self._devices.run(score, (REPLICATED, REPLICATED, BATCH), BATCH)
        variables = self._devices.replicate(self._variables)
        return self._measure(run, self._frozen, variables, self._images(batch))

    def training(self, batch: int, recipe: Recipe, *, on_images: bool) -> Timing:
        """Time a training step, with all of its optimizer steps.

        Args:
          batch: images of the step, over all devices.
          recipe: how it is trained, on whatever devices.
          on_images: whether the step encodes its images, or starts from feature maps.
        """
        images, encoder = self._images(batch), self._detector.encoder
        encode: Encode = encoder.__call__ if on_images else as_maps
        inputs = images if on_images else self._encode()(self._frozen, images)
        recipe = dataclasses.replace(recipe, devices=self._devices)
        state = create_state(self._variables, recipe.optimizer, self._seed)
        return measure(
            make_step(self._detector, recipe, encode),
            (self._devices.replicate(state), self._frozen if on_images else {}, inputs),
            repeats=self._repeats,
            advance=lambda arguments, result: (result[0], *arguments[1:]),
        )

    def _encode(self) -> Callable:
        return self._devices.run(self._detector.encoder, (REPLICATED, BATCH), BATCH)

    def _images(self, batch: int) -> jax.Array:
        rng = np.random.default_rng(self._seed)
        images = rng.integers(0, 256, (batch, *self._size, 3), np.uint8)
        place = self._devices.run(lambda images: images, (BATCH,), BATCH)
        return place(self._devices.shard(images))

    def _measure(self, function: Any, *arguments: Any) -> Timing:
        return measure(function, arguments, repeats=self._repeats)


def _megabytes(tree: Any) -> float:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree)) / 1e6
