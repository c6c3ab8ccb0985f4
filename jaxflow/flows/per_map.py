"""A flow of one map, lifted to the tuple of maps of an encoder."""

from collections.abc import Iterator, Sequence
from typing import Any

from flax import linen as nn

from jaxflow.flows.arguments import check_count, check_maps, check_sequence
from jaxflow.flows.bijection import Bijection, Value, check_flow


class PerMap(Bijection):
    """Run each map of a tuple through its own flow.

    forward: `z_i = f_i(x_i)`; log_det: those of the flows, f[...] a map, nats;
    inverse: `x_i = f_i^-1(z_i)`. The condition is None, or a tuple of one condition a map.

    Attributes:
      flows: the flow of one map, of which each map gets a copy with its own parameters, or a
        sequence of one flow a map. In the variables they are `flows_0`, `flows_1`, ..., or have
        the names that the flows of a sequence are given.
      maps: number of maps; not needed with a sequence.

    Raises:
      ValueError: if there are no flows, one is none, or x, z or the condition is not a tuple of
        that many.

    Example: a two-scale flow, which sends half of its channels through no more steps
      >>> import jax, jax.numpy as jnp
      >>> from jaxflow.flows import Chain, FastFlow2D, Identity, Split, Squeeze
      >>> finer = Chain([Squeeze(), FastFlow2D(steps=1)])
      >>> coarser = Chain([Squeeze(), FastFlow2D(steps=1)])
      >>> flow = Chain([finer, Split(), PerMap([Identity(), coarser])])
      >>> x = jnp.ones((1, 8, 8, 3))
      >>> z, variables = jax.eval_shape(flow.init_with_output, jax.random.key(0), x)
      >>> [each.shape for each in z]
      [(1, 4, 4, 6), (1, 2, 2, 24)]

    Reference: arXiv 2111.07677, section 3.2; arXiv 1605.08803, section 3.6, for several scales.
    """

    joint = True

    flows: Bijection | Sequence[Bijection]
    maps: int | None = None

    def setup(self):
        """Make a flow for each map."""
        if isinstance(self.flows, Bijection):
            check_count("maps", self.maps)
            self.each = [self.flows.copy(name=f"flows_{i}") for i in range(self.maps or 0)]
            return
        check_sequence("flows", self.flows, "a flow or a sequence of flows")
        if not self.flows:
            raise ValueError("flows must hold at least one flow, got none")
        if self.maps not in (None, len(self.flows)):
            raise ValueError(f"maps must be {len(self.flows)}, as flows are, got {self.maps}")
        self.each = [check_flow(f"flows[{i}]", flow) for i, flow in enumerate(self.flows)]

    @property
    def inner(self) -> Sequence[Bijection]:
        """The flows, or the one of which every map has a copy."""
        return (self.flows,) if isinstance(self.flows, Bijection) else self.flows

    @nn.nowrap
    def carry_forward(self, log_det: Value) -> Value:
        """Carry that of each map as its flow does."""
        return tuple(f.carry_forward(each) for f, each in zip(self.each, log_det, strict=True))

    @nn.nowrap
    def carry_inverse(self, log_det: Value) -> Value:
        """Carry that of each map back as its flow does."""
        return tuple(f.carry_inverse(each) for f, each in zip(self.each, log_det, strict=True))

    def forward_and_log_det(self, x: Value, condition: Value = None) -> tuple[Value, Value]:
        """Map each x f[..., c_i], given its condition, to z and log_det f[...], nats."""
        rows = self._rows("x", x, condition)
        return _unzip([flow.forward_and_log_det(*row) for flow, *row in rows])

    def leave_one_out(self, x: Value, condition: Value = None) -> tuple[Value, Value]:
        """Map each x f[..., c_i] as its flow's `leave_one_out` does."""
        rows = self._rows("x", x, condition)
        return _unzip([flow.leave_one_out(*row) for flow, *row in rows])

    def inverse_and_log_det(self, z: Value, condition: Value = None) -> tuple[Value, Value]:
        """Map each z f[..., c_i] to x f[..., c_i] and the inverse's log_det f[...], nats."""
        rows = self._rows("z", z, condition)
        return _unzip([flow.inverse_and_log_det(*row) for flow, *row in rows])

    @nn.nowrap
    def _rows(self, name: str, maps: Value, condition: Value) -> Iterator[tuple[Any, ...]]:
        """Return the flow, the array and the condition of each map."""
        count = len(self.each)
        conditions = [None] * count if condition is None else condition
        check_maps(name, maps, count)
        check_maps("condition", conditions, count)
        return zip(self.each, maps, conditions, strict=True)


def _unzip(pairs):
    values, log_dets = zip(*pairs, strict=True)
    return values, log_dets
