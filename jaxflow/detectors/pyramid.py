"""The flow over the feature maps of an encoder: one for each map, or one for all."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxflow.detectors.conditions import CONDITIONS
from jaxflow.flows import (
    NORMALIZATIONS,
    Base,
    Bijection,
    HierarchicalMixture,
    PerMap,
    StandardNormal,
    position_log_prob,
)
from jaxflow.flows.arguments import check_array, check_choice, check_count
from jaxflow.flows.bijection import check_flow

Maps = Sequence[jax.Array]


class Latent(NamedTuple):
    """What a flow makes of one feature map.

    Attributes:
      z: f[b, h, w, c], standard normal for normal images, or as another base is.
      log_det: f[b, h, w], nats, the normalization's included where it is a bijection.
      log_base: f[b, h, w], log p of z under its base, nats; None: that is the standard normal.
    """

    z: jax.Array
    log_det: jax.Array
    log_base: jax.Array | None = None

    def log_prob(self) -> jax.Array:
        """Return the exact log-likelihood f[b, h, w] of each position, nats."""
        if self.log_base is None:
            return position_log_prob(self.z, self.log_det)
        return self.log_base + self.log_det

    def mean_square(self) -> jax.Array:
        """Return `mean_c z^2` f[b, h, w]; of another base, what has the same log p."""
        if self.log_base is None:
            return jnp.square(self.z).mean(-1)
        return -2.0 * self.log_base / self.z.shape[-1] - math.log(2.0 * math.pi)


def flow_name(i: int) -> str:
    """Return the name that the flow of map i, from 0, has in the variables of a `FlowPyramid`.

    A flow of all maps together has the name `flows`.
    """
    return f"flows_{i}"


def normalization_name(i: int) -> str:
    """Return the name that the normalization of map i, from 0, has there."""
    return f"normalizations_{i}"


def base_name(i: int) -> str:
    """Return the name that the base of map i, from 0, has there, if it is a mixture."""
    return f"bases_{i}"


class FlowPyramid(Bijection):
    """Normalize each feature map and run it through its own flow, or all through a joint one.

    forward: `z_i = f_i(normalize_i(x_i))`, or `z = f(normalize_1(x_1), ...)`; log_det: the sum of
      both, f[b, h, w] a map, nats;
    inverse: the same in reverse, where the normalization is a bijection.

    Attributes:
      flow: of one map, of which each map gets a copy with its own parameters; or a `joint` one,
        which takes all maps and is used as it is.
      maps: number of feature maps.
      normalization: a key of `NORMALIZATIONS`.
      condition: a key of `CONDITIONS`; every flow is given that of its map's size.
      condition_dim: channels of the condition.
      components: Gaussians of the base: 1 is the standard normal; with more, each map has a
        `HierarchicalMixture`.

    Raises:
      ValueError: if the normalization or the condition is unknown, the condition cannot have that
        many channels, components is less than 1, the flow has a base of its own, another number of
        maps is given, or one is not f[b, h, w, c].

    Reference: arXiv 2111.07677, section 3.2; arXiv 2107.12571, section 4.2, for the condition.
    """

    joint = True

    flow: Bijection
    maps: int
    normalization: str = "layer_norm"
    condition: str = "none"
    condition_dim: int = 128
    components: int = 1

    def setup(self):
        """Make a normalization and a base for each map, and a flow for each or for all."""
        check_count("components", self.components)
        check_count("maps", self.maps)
        check_choice("normalization", self.normalization, NORMALIZATIONS)
        check_choice("condition", self.condition, CONDITIONS)
        flow = check_flow("flow", self.flow)
        if not isinstance(flow.base, StandardNormal):
            raise ValueError(
                f"flow must have a standard normal base, got {flow.base!r}; components has others"
            )
        normalize, numbers = NORMALIZATIONS[self.normalization], range(self.maps)
        self.normalizations = PerMap([normalize(name=normalization_name(i)) for i in numbers])
        self.flows: Bijection = (
            flow.copy(name="flows")
            if flow.joint
            else PerMap([flow.copy(name=flow_name(i)) for i in numbers])
        )
        mixed = numbers if self.components > 1 else ()
        self.bases = [HierarchicalMixture(self.components, name=base_name(i)) for i in mixed]

    @property
    def bijective(self) -> bool:
        """Whether normalization and flow are."""
        return NORMALIZATIONS[self.normalization]().bijective and self.flow.bijective

    @property
    def starts_from_data(self) -> bool:
        """Whether the flow does."""
        return self.flow.starts_from_data

    @nn.nowrap
    def describe(self) -> str:
        """Say in a line what it is."""
        said = f"{self.flow.describe()}, {self.normalization}, condition {self.condition}"
        return said if self.components == 1 else f"{said}, base of {self.components} Gaussians"

    def latents(
        self,
        feature_maps: Maps,
        leave_one_out: bool = False,
        condition: Maps | None = None,
    ) -> tuple[Latent, ...]:
        """Map each f[b, h_i, w_i, c_i] to its latent.

        Args:
          feature_maps: of all maps.
          leave_one_out: whether the normalization is that of all other images; see `Bijection`.
          condition: of each map, in place of the named one.
        """
        z, log_det = self._forward(self.normalize(feature_maps, leave_one_out), condition)
        if not self.bases:
            return tuple(map(Latent, z, log_det))
        log_base = [base.log_prob(each) for base, each in zip(self.bases, z, strict=True)]
        return tuple(map(Latent, z, log_det, log_base))

    def log_prob(self, x: Maps, condition: Maps | None = None) -> tuple[jax.Array, ...]:
        """Return the exact log-likelihood f[b, h_i, w_i] of each map's positions, nats."""
        return tuple(latent.log_prob() for latent in self.latents(x, condition=condition))

    def sample(
        self, key: jax.Array, shape: Sequence[Any], condition: Maps | None = None
    ) -> tuple[jax.Array, ...]:
        """Draw latents of these shapes from their bases, and map them to x."""
        return self.inverse(self.draw(key, shape), condition)

    def draw(self, key: jax.Array, shapes: Sequence[Sequence[int]]) -> tuple[jax.Array, ...]:
        """Draw latents f[b, h_i, w_i, c_i] of these shapes from their bases."""
        keys = jax.random.split(key, len(shapes))
        bases: Sequence[Base] = self.bases or [StandardNormal()] * len(shapes)
        each = zip(bases, keys, shapes, strict=True)
        return tuple(base.sample(key, shape) for base, key, shape in each)

    def forward_and_log_det(self, x: Maps, condition: Maps | None = None) -> tuple[Maps, Maps]:
        """Map each x f[b, h_i, w_i, c_i] to z and log_det f[b, h_i, w_i], nats.

        A condition of each map takes the place of the named one.
        """
        return self._forward(self.normalize(x), condition)

    @nn.nowrap
    def _forward(self, normalized, condition):
        x, outer = normalized
        codes = self.codes(x) if condition is None else condition
        z, log_det = self.flows.forward_and_log_det(x, codes)
        return z, tuple(map(jnp.add, log_det, self.flows.carry_forward(outer)))

    def inverse_and_log_det(self, z: Maps, condition: Maps | None = None) -> tuple[Maps, Maps]:
        """Map each z f[b, h_i, w_i, c_i] to x and the inverse's log_det f[b, h_i, w_i], nats.

        A condition of each map takes the place of the named one.
        """
        codes = self.codes(z) if condition is None else condition
        x, log_det = self.flows.inverse_and_log_det(z, codes)
        x, outer = self.normalizations.inverse_and_log_det(x)
        return x, tuple(map(jnp.add, self.normalizations.carry_inverse(log_det), outer))

    def normalize(self, feature_maps: Maps, leave_one_out: bool = False) -> tuple[Maps, Maps]:
        """Return the maps normalized, and the log_det f[b, h_i, w_i] of that, nats.

        Args:
          feature_maps: f[b, h_i, w_i, c_i] each.
          leave_one_out: whether as by what all other images say; see `Bijection`.
        """
        for i, x in enumerate(feature_maps):
            if check_array(f"feature_maps[{i}]", x).ndim != 4:
                raise ValueError(f"feature_maps[{i}] must be f[b, h, w, c], got shape {x.shape}")
        if leave_one_out:
            return self.normalizations.leave_one_out(feature_maps)
        return self.normalizations.forward_and_log_det(feature_maps)

    def restore(self, z: Maps) -> Maps:
        """Return the normalized maps of latents: every normalization has these."""
        return self.flows.inverse(z, self.codes(z))

    def codes(self, maps: Maps) -> tuple[jax.Array | None, ...]:
        """Return the condition of each map f[b, h_i, w_i, c_i]; see `code`."""
        return tuple(self.code(x.shape[1], x.shape[2]) for x in maps)

    def code(self, height: int, width: int) -> jax.Array | None:
        """Return the condition f32[height, width, condition_dim] of a map, or None."""
        return CONDITIONS[self.condition](height, width, self.condition_dim)
