"""A flow seen in other coordinates."""

from collections.abc import Sequence

import jax
from flax import linen as nn

from jaxflow.flows.bijection import Bijection, Value, check_flow


class Conjugate(Bijection):
    """Run a flow in the coordinates that another flow gives.

    forward: `z = by^-1(flow(by(x)))`; log_det: the sum of the three; the two of `by` cancel where
      they do not depend on x, as those of a linear map do.
    inverse: `x = by^-1(flow^-1(by(z)))`.

    Attributes:
      flow: any Bijection.
      by: any Bijection of the same grid; used in both directions, with one set of variables.

    Raises:
      ValueError: if one of them is none.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxflow.flows import Coupling, DenseConditioner, InvertibleLinear
      >>> flow = Conjugate(Coupling(DenseConditioner(), coupling="additive"), InvertibleLinear())
      >>> x = jnp.ones((3, 6))
      >>> variables = jax.jit(flow.init)(jax.random.key(0), x)
      >>> sorted(variables["params"])
      ['by', 'flow']

    Reference: arXiv 2510.09452 (the affine conjugation of its authors' library).
    """

    flow: Bijection
    by: Bijection

    @property
    def inner(self) -> Sequence[Bijection]:
        """Both flows."""
        return (self.flow, self.by)

    @property
    def joint(self) -> bool:
        """As `by` is."""
        return self.by.joint

    def forward_and_log_det(self, x: Value, condition: Value = None) -> tuple[Value, Value]:
        """Map x f[..., c] to z f[..., c] and log_det f[...], nats."""
        return self._run(check_flow("flow", self.flow).forward_and_log_det, x, condition)

    def inverse_and_log_det(self, z: Value, condition: Value = None) -> tuple[Value, Value]:
        """Map z f[..., c] to x f[..., c] and the inverse's log_det f[...], nats."""
        return self._run(check_flow("flow", self.flow).inverse_and_log_det, z, condition)

    @nn.nowrap
    def _run(self, middle, value, condition):
        by = check_flow("by", self.by)
        value, there = by.forward_and_log_det(value, condition)
        value, between = middle(value, condition)
        value, back = by.inverse_and_log_det(value, condition)
        # What `by` does to the volume it undoes: there and back first, so that they cancel.
        return value, jax.tree.map(lambda a, b, c: (a + c) + b, there, between, back)
