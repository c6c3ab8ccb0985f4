"""A flow of one map over several maps of one grid: their channels side by side."""

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxflow.flows.arguments import check_array, check_condition, check_maps
from jaxflow.flows.bijection import Bijection, Value, check_flow


class Joined(Bijection):
    """Run one flow over the channels of all maps together; `PerMap` has a flow for each.

    forward: `z_1, ..., z_n = split(flow(concat(x_1, ..., x_n)))`, z_i of the channels of x_i;
    log_det: that of the flow, f[...] a map, in shares of their channels, nats;
    inverse: `x_1, ..., x_n = split(flow^-1(concat(z_1, ..., z_n)))`. Conditions are joined too.

    Attributes:
      flow: of one map, with the same grid and channels on both sides.

    Raises:
      ValueError: if flow is none, x or z is not a tuple of arrays that differ only in their
        channels, or the conditions are not as many or do not broadcast to them.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxflow.flows import CFlowDecoder
      >>> flow = Joined(CFlowDecoder(steps=1))
      >>> x = jnp.ones((2, 3, 3, 6)), jnp.ones((2, 3, 3, 4))
      >>> z, variables = jax.eval_shape(flow.init_with_output, jax.random.key(0), x)
      >>> [each.shape for each in z]
      [(2, 3, 3, 6), (2, 3, 3, 4)]
    """

    joint = True

    flow: Bijection

    @property
    def inner(self) -> Sequence[Bijection]:
        """The flow."""
        return (self.flow,)

    def forward_and_log_det(
        self, x: Value, condition: Value = None
    ) -> tuple[tuple[jax.Array, ...], tuple[jax.Array, ...]]:
        """Map each x f[..., c_i], given its condition, to z f[..., c_i] and log_det f[...]."""
        flow = check_flow("flow", self.flow)
        x = self._check("x", x)
        joined = jnp.concatenate(x, axis=-1)
        return self._split(x, *flow.forward_and_log_det(joined, self._join(x, condition)))

    def inverse_and_log_det(
        self, z: Value, condition: Value = None
    ) -> tuple[tuple[jax.Array, ...], tuple[jax.Array, ...]]:
        """Map each z f[..., c_i] to x f[..., c_i] and the inverse's log_det f[...], nats."""
        flow = check_flow("flow", self.flow)
        z = self._check("z", z)
        joined = jnp.concatenate(z, axis=-1)
        return self._split(z, *flow.inverse_and_log_det(joined, self._join(z, condition)))

    @nn.nowrap
    def _check(self, name, maps):
        maps = [check_array(f"{name}[{i}]", each) for i, each in enumerate(check_maps(name, maps))]
        if len({each.shape[:-1] for each in maps}) != 1:
            got = [each.shape for each in maps]
            raise ValueError(f"{name} must have maps that differ only in channels, got {got}")
        return maps

    @nn.nowrap
    def _join(self, maps, condition):
        """Return the conditions of all maps as one, or None."""
        conditions = [None] * len(maps) if condition is None else condition
        check_maps("condition", conditions, len(maps))
        leading = maps[0].shape[:-1]
        wide = []
        for each in conditions:
            if (given := check_condition(each, leading)) is not None:
                wide.append(jnp.broadcast_to(given, (*leading, given.shape[-1])))
        return jnp.concatenate(wide, axis=-1) if wide else None

    @nn.nowrap
    def _split(self, maps, joined, log_det):
        widths = [each.shape[-1] for each in maps]
        ends = list(itertools.accumulate(widths))
        values = jnp.split(joined, ends[:-1], axis=-1)
        return tuple(values), tuple(log_det * (width / ends[-1]) for width in widths)
