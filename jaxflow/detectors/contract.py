"""The contract that every family of detectors answers."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from jaxflow.encoders import Encoder

Variables = dict[str, Any]


class Scored(NamedTuple):
    """One score of a batch of images.

    Attributes:
      anomaly_map: f32[b, height, width], of jax or numpy; higher is more anomalous.
      anomaly_score: f32[b], of each image.
    """

    anomaly_map: Any
    anomaly_score: Any


class Pass(NamedTuple):
    """One look at the feature maps of all normal images, a batch at a time.

    Attributes:
      start: variables -> what is carried from batch to batch.
      update: (variables, carry, maps, valid) -> carry. maps: one f32[b, h_i, w_i, c_i] an encoder
        stage; valid bool[b]: an image that is not valid fills up the last batch and does not count.
      finish: (variables, carry) -> the variables with what was learned.
      held_out: whether the images are those held out of training, and not the training images. It
        is for passes after training; where none are held out they look at the training images.
    """

    start: Callable[[Variables], Any]
    update: Callable[[Variables, Any, Sequence[jax.Array], np.ndarray], Any]
    finish: Callable[[Variables, Any], Variables]
    held_out: bool = False


def with_constants(variables: Variables, constants: dict[str, Any]) -> Variables:
    """Return the variables with further, or other, constants."""
    return {**variables, "constants": {**variables.get("constants", {}), **constants}}


# (variables, maps, key) -> loss f[b] that is minimized, and f[b] in nats per dimension.
Objective = Callable[[Variables, Sequence[jax.Array], jax.Array], tuple[jax.Array, jax.Array]]


class Likelihood(NamedTuple):
    """The exact likelihood that a detector learns.

    Attributes:
      nats: (variables, maps) -> f[b], the negative log-likelihood of each image's maps, nats per
        dimension.
      instead: what it is the likelihood of, where that is not the encoder's maps as they are; "":
        it is of these, and compares between detectors of the same maps.
    """

    nats: Callable[[Variables, Sequence[jax.Array]], jax.Array]
    instead: str = ""


class Detector(Protocol):
    """Everything that learns from normal feature maps and scores others."""

    @property
    def encoder(self) -> Encoder:
        """Return what gives the feature maps."""
        ...

    @property
    def scores(self) -> tuple[str, ...]:
        """Return the names of the scores that are reported."""
        ...

    @property
    def meanings(self) -> Mapping[str, str]:
        """Return what each score means, a sentence for its readers."""
        ...

    @property
    def before(self) -> tuple[Pass, ...]:
        """Return the passes over the normal feature maps before training."""
        ...

    @property
    def objective(self) -> Objective | None:
        """Return what training minimizes; None: nothing is trained by gradient."""
        ...

    @property
    def likelihood(self) -> Likelihood | None:
        """Return the exact likelihood; None: there is none."""
        ...

    @property
    def after(self) -> tuple[Pass, ...]:
        """Return the passes with the trained variables."""
        ...

    def init(self, key: jax.Array, size: tuple[int, int]) -> Variables:
        """Draw the variables for inputs of (height, width): `params` and `constants`."""
        ...

    def score(
        self, variables: Variables, maps: Sequence[jax.Array], size: tuple[int, int]
    ) -> dict[str, Scored]:
        """Score images by their feature maps; each image by itself.

        Args:
          variables: as `init` made them and the passes and training filled them.
          maps: one f32[b, h_i, w_i, c_i] an encoder stage.
          size: (height, width) of the input, pixels.

        Returns:
          The anomaly map and the anomaly score of each of `scores`.
        """
        ...

    def describe(self) -> str:
        """Say in a line what it is, for reports."""
        ...


class Untrained:
    """What the dataclasses of detectors share that only look at the normal feature maps."""

    def describe(self) -> str:
        """Say in a line what it is: its class and its options."""
        fields: Any = dataclasses.fields(self)  # type: ignore[arg-type]
        names = [field.name for field in fields if field.name not in ("encoder", "scores")]
        options = ", ".join(f"{name} {getattr(self, name)}" for name in names)
        return f"{type(self).__name__}: {options}"

    @property
    def objective(self) -> Objective | None:
        """Return None: nothing is trained by gradient."""
        return None

    @property
    def likelihood(self) -> Likelihood | None:
        """Return None: there is none, unless a detector says otherwise."""
        return None

    @property
    def after(self) -> tuple[Pass, ...]:
        """Return no pass."""
        return ()
