"""A flow with its parameters as a distrax bijector and as a distrax distribution."""

import math
from collections.abc import Sequence
from typing import Any

import distrax
import jax
import jax.numpy as jnp
from flax import errors
from flax import linen as nn

from jaxflow.flows.arguments import check_count, check_sequence


class FlowBijector(distrax.Bijector):
    """The map x -> z of a flow as a `distrax.Bijector`.

    log_det is summed over the event: f[b] for a 2D flow (event_ndims=3: h, w, c), f[...] for a
    vector flow (event_ndims=1).

    Args:
      flow: a flow of this package.
      variables: what `flow.init` returned, or trained.
      event_ndims: 3 for maps [h, w, c], 1 for vectors [c].
      condition: what the flow is conditioned on, if anything.

    Raises:
      ValueError: if event_ndims is no integer of at least 1.
    """

    def __init__(
        self,
        flow: nn.Module,
        variables: Any,
        event_ndims: int = 3,
        condition: jax.Array | None = None,
    ):
        check_count("event_ndims", event_ndims)
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

    Raises:
      ValueError: if event_shape holds no integers, or the flow with these variables and this
        condition does not take it.

    Reference: arXiv 2111.07677, Eq. 1 and 2.
    """
    check_sequence("event_shape", event_shape, "a sequence of integers")
    shape = tuple(event_shape)
    for size in shape:
        check_count("a size of event_shape", size)
    _check_event(flow, variables, shape, condition)
    base = distrax.Independent(_StandardNormal(jnp.zeros(shape), jnp.ones(shape)), len(shape))
    bijector = FlowBijector(flow, variables, len(shape), condition)
    return distrax.Transformed(base, distrax.Inverse(bijector))


class _StandardNormal(distrax.Normal):
    """N(0, 1) whose log_prob adds no arrays of different ranks, which JAX can forbid."""

    def log_prob(self, value):
        return -0.5 * jnp.square(value) - 0.5 * math.log(2.0 * math.pi)

    def _sample_n_and_log_prob(self, key, n):
        samples = self._sample_n(key, n)
        return samples, self.log_prob(samples)


def _check_event(flow, variables, shape, condition):
    """Trace the flow once; computes nothing."""
    batch = () if condition is None else jnp.shape(condition)[: -len(shape)]
    x = jax.ShapeDtypeStruct((*batch, *shape), jnp.float32)
    try:
        jax.eval_shape(flow.apply, variables, x, condition)
    except (ValueError, errors.FlaxError) as error:
        raise ValueError(f"event_shape must be one the flow takes, got {shape}: {error}") from error
