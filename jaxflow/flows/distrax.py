"""A flow with its parameters as a distrax bijector and as a distrax distribution.

Only this module imports distrax, which the extra `distrax` brings; `import jaxflow.flows` does not
load it:

    from jaxflow.flows.distrax import FlowBijector, flow_distribution
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import errors

from jaxflow.errors import needs_extra
from jaxflow.flows.arguments import check_count, check_sequence
from jaxflow.flows.bijection import Bijection

with needs_extra("distrax"):
    import distrax


class FlowBijector(distrax.Bijector):
    """The map x -> z of a flow as a `distrax.Bijector`.

    log_det is summed over the event: f[b] for a 2D flow (event_ndims=3: h, w, c), f[...] for a
    vector flow (event_ndims=1).

    Args:
      flow: a flow of this package, of an array.
      variables: what `flow.init` returned, or trained.
      event_ndims: 3 for maps [h, w, c], 1 for vectors [c].
      condition: what the flow is conditioned on, if anything.

    Raises:
      ValueError: if event_ndims is no integer of at least 1.
    """

    def __init__(
        self,
        flow: Bijection,
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
        return value, _sum_positions(log_det, self.event_ndims_in)


def flow_distribution(
    flow: Bijection,
    variables: Any,
    event_shape: Sequence[int],
    condition: jax.Array | None = None,
) -> distrax.Distribution:
    """Return the distribution of data that the flow maps to its base.

    `log_prob(x)` is exact, `sample` draws z and inverts the flow.

    Args:
      flow: a flow of this package, of an array.
      variables: its variables.
      event_shape: of the data: (h, w, c) for a 2D flow, (c,) for a vector flow.
      condition: what the flow is conditioned on, if anything.

    Returns:
      A `distrax.Transformed` over the base of the flow.

    Raises:
      ValueError: if event_shape holds no integers, or the flow with these variables and this
        condition does not take it.

    Reference: arXiv 2111.07677, Eq. 1 and 2.
    """
    check_sequence("event_shape", event_shape, "a sequence of integers")
    shape = tuple(event_shape)
    for size in shape:
        check_count("a size of event_shape", size)
    base = _Base(flow, variables, _latent_shape(flow, variables, shape, condition))
    bijector = FlowBijector(flow, variables, len(shape), condition)
    return distrax.Transformed(base, distrax.Inverse(bijector))


class _Base(distrax.Distribution):
    """The base of a flow, over all positions of one event."""

    def __init__(self, flow, variables, shape):
        self._flow = flow
        self._variables = variables
        self._shape = shape

    @property
    def event_shape(self):
        return self._shape

    def log_prob(self, value):
        log_prob = self._apply(lambda flow: flow.base.log_prob(value))
        return _sum_positions(log_prob, len(self._shape))

    def _sample_n(self, key, n):
        return self._apply(lambda flow: flow.base.sample(key, (n, *self._shape)))

    def _apply(self, method):
        return self._flow.apply(self._variables, method=method)


def _sum_positions(values, event_ndims):
    positions = tuple(range(-(event_ndims - 1), 0))
    return values.sum(positions) if positions else values


def _latent_shape(flow, variables, shape, condition):
    """Return the shape of an event's latents; the flow is traced and computes nothing."""
    batch = () if condition is None else jnp.shape(condition)[: -len(shape)]
    x = jax.ShapeDtypeStruct((*batch, *shape), jnp.float32)
    try:
        z = jax.eval_shape(flow.apply, variables, x, condition)
    except (ValueError, errors.FlaxError) as error:
        raise ValueError(f"event_shape must be one the flow takes, got {shape}: {error}") from error
    if not hasattr(z, "shape"):
        raise ValueError(f"the flow must map to one array, got {len(z)}")
    return z.shape[len(batch) :]
