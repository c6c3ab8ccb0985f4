"""A flow with its parameters as a distrax bijector and as a distrax distribution."""

from collections.abc import Sequence
from typing import Any

import distrax
import jax
import jax.numpy as jnp
from flax import linen as nn


class FlowBijector(distrax.Bijector):
    """The map x -> z of a flow as a `distrax.Bijector`.

    log_det is summed over the event: f[b] for a 2D flow (event_ndims=3: h, w, c), f[...] for a
    vector flow (event_ndims=1).

    Args:
      flow: a flow of this package.
      variables: what `flow.init` returned, or trained.
      event_ndims: 3 for maps [h, w, c], 1 for vectors [c].
      condition: what the flow is conditioned on, if anything.
    """

    def __init__(
        self,
        flow: nn.Module,
        variables: Any,
        event_ndims: int = 3,
        condition: jax.Array | None = None,
    ):
        super().__init__(event_ndims_in=event_ndims)
        self._flow = flow
        self._variables = variables
        self._condition = condition

    def forward_and_log_det(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Map x f[..., event] to z f[..., event] and log_det f[...], nats."""
        return self._apply("forward_and_log_det", x)

    def inverse_and_log_det(self, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Map latents f[..., event] to data f[..., event] and log_det f[...], nats."""
        return self._apply("inverse_and_log_det", y)

    def _apply(self, method, value):
        output: Any = self._flow.apply(self._variables, value, self._condition, method=method)
        value, log_det = output
        positions = tuple(range(-(self.event_ndims_in - 1), 0))
        return value, log_det.sum(positions) if positions else log_det


def flow_distribution(
    flow: nn.Module,
    variables: Any,
    event_shape: Sequence[int],
    condition: jax.Array | None = None,
) -> distrax.Distribution:
    """Return the distribution of data that the flow maps to a standard normal.

    `log_prob(x)` is exact, `sample` draws z and inverts the flow.

    Args:
      flow: a flow of this package.
      variables: its variables.
      event_shape: (h, w, c) for a 2D flow, (c,) for a vector flow.
      condition: what the flow is conditioned on, if anything.

    Returns:
      A `distrax.Transformed` over `Independent(Normal(0, 1))`.

    Reference: arXiv 2111.07677, Eq. 1 and 2.
    """
    shape = tuple(event_shape)
    base = distrax.Independent(
        distrax.Normal(jnp.zeros(shape), jnp.ones(shape)), reinterpreted_batch_ndims=len(shape)
    )
    bijector = FlowBijector(flow, variables, len(shape), condition)
    return distrax.Transformed(base, distrax.Inverse(bijector))
