"""Flows one after another."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxflow.flows.arguments import check_sequence
from jaxflow.flows.bijection import Bijection, Value, check_flow


class Chain(Bijection):
    """Compose flows.

    forward: `z = f_n(... f_1(x))`; log_det: the sum of theirs at every position of z, where a link
      that changes the grid carries the sum so far over to its own;
    inverse: `x = f_1^-1(... f_n^-1(z))`.

    Every link is given the condition.

    Attributes:
      links: flows, in the order in which they are applied. In the variables they are `links_0`,
        `links_1`, ..., or have the names that they are given.

    Raises:
      ValueError: if there are no links, or one is no flow.

    Example: FrEIA's all-in-one step
      >>> import jax, jax.numpy as jnp
      >>> from jaxflow.flows import Coupling, DenseConditioner, GlobalAffine, SoftPermutation
      >>> step = Chain([Coupling(DenseConditioner()), GlobalAffine(), SoftPermutation()])
      >>> x = jnp.ones((3, 6))
      >>> variables = jax.jit(step.init)(jax.random.key(0), x)
      >>> z, log_det = step.apply(variables, x, method="forward_and_log_det")
    """

    links: Sequence[Bijection]

    @property
    def inner(self) -> Sequence[Bijection]:
        """The links."""
        return self.links

    @property
    def joint(self) -> bool:
        """Whether the first link is."""
        return bool(self.links) and self.links[0].joint

    @nn.nowrap
    def carry_forward(self, log_det: Value) -> Value:
        """Carry it through every link."""
        for link in self.links:
            log_det = link.carry_forward(log_det)
        return log_det

    @nn.nowrap
    def carry_inverse(self, log_det: Value) -> Value:
        """Carry it back through every link."""
        for link in reversed(self.links):
            log_det = link.carry_inverse(log_det)
        return log_det

    def forward_and_log_det(self, x: Value, condition: Value = None) -> tuple[Value, Value]:
        """Map x f[..., c] to z f[..., c] and log_det f[...], nats."""
        first, *rest = _checked(self.links)
        x, log_det = first.forward_and_log_det(x, condition)
        for link in rest:
            x, step = link.forward_and_log_det(x, condition)
            log_det = jax.tree.map(jnp.add, link.carry_forward(log_det), step)
        return x, log_det

    def inverse_and_log_det(self, z: Value, condition: Value = None) -> tuple[Value, Value]:
        """Map z f[..., c] to x f[..., c] and the inverse's log_det f[...], nats."""
        last, *rest = reversed(_checked(self.links))
        z, log_det = last.inverse_and_log_det(z, condition)
        for link in rest:
            z, step = link.inverse_and_log_det(z, condition)
            log_det = jax.tree.map(jnp.add, link.carry_inverse(log_det), step)
        return z, log_det


def _checked(links):
    """Return the links of a chain."""
    check_sequence("links", links, "a sequence of flows")
    if not links:
        raise ValueError("a chain needs at least one flow, got none")
    return [check_flow(f"links[{i}]", link) for i, link in enumerate(links)]
