"""CFLOW's conditional flow over feature vectors."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxflow.flows.chain import Chain
from jaxflow.flows.conditioner import DenseConditioner, fan_in_uniform
from jaxflow.flows.coupling import CouplingStep


class CFlowDecoder(nn.Module):
    """A normalizing flow over single feature vectors, given a condition such as their position.

    forward: `z = f_steps(... f_1(x))`, each f_i a `CouplingStep` whose dense conditioner reads
      concat(a, condition).
    log_det: f[...], the sum over channels and steps of the analytic log-scales.
    inverse: exact, in closed form.

    Without a condition, at init and ever after, it is the unconditional flow (UFLOW).

    Attributes:
      steps: number of coupling steps.
      hidden_ratio: hidden width over the conditioner's input width, condition included.
      clamp: bound of the coupling's |log_scale|.
      coupling: "affine" or "additive".
      log_scale: "tanh" or "unit_slope_tanh".
      permutation: "soft" or "hard".
      dtype: compute dtype of the dense layers; None follows x. Latents and log_det stay in at
        least float32.
      param_dtype: dtype of the parameters.
      output_init: initializer of each conditioner's last kernel; PyTorch's default.

    Raises:
      ValueError: if steps < 1, a choice is unknown, c < 2, or the condition has leading axes that
        do not broadcast to those of x.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxflow.flows import position_encoding
      >>> decoder = CFlowDecoder(steps=2)
      >>> x, code = jnp.ones((3, 4, 5, 6)), position_encoding(4, 5)
      >>> variables = decoder.init(jax.random.key(0), x, code)
      >>> z, log_det = decoder.apply(variables, x, code, method="forward_and_log_det")
      >>> z.shape, log_det.shape
      ((3, 4, 5, 6), (3, 4, 5))

    Reference: arXiv 2107.12571, section 4.2.
    """

    steps: int = 8
    hidden_ratio: float = 2.0
    clamp: float = 1.9
    coupling: str = "affine"
    log_scale: str = "tanh"
    permutation: str = "soft"
    dtype: jnp.dtype | None = None
    param_dtype: jnp.dtype = jnp.float32
    output_init: Callable = fan_in_uniform

    def setup(self):
        """Make the chain of coupling steps."""
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")
        self.chain = Chain([self._step() for _ in range(self.steps)])

    def _step(self) -> CouplingStep:
        conditioner = functools.partial(
            DenseConditioner,
            hidden_ratio=self.hidden_ratio,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            output_init=self.output_init,
        )
        return CouplingStep(
            conditioner,
            clamp=self.clamp,
            coupling=self.coupling,
            log_scale=self.log_scale,
            permutation=self.permutation,
            param_dtype=self.param_dtype,
        )

    def __call__(self, x: jax.Array, condition: jax.Array | None = None) -> jax.Array:
        """Return z f[..., c] alone; see `forward_and_log_det`."""
        return self.forward_and_log_det(x, condition)[0]

    def forward_and_log_det(
        self, x: jax.Array, condition: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Map x f[..., c], given condition f[..., d], to z f[..., c] and log_det f[...], nats."""
        return self.chain.forward_and_log_det(x, _checked(condition, x))

    def inverse_and_log_det(
        self, z: jax.Array, condition: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Map z f[..., c] to x f[..., c] and the inverse's log_det f[...], nats."""
        return self.chain.inverse_and_log_det(z, _checked(condition, z))


def _checked(condition, x):
    """Return the condition; its leading axes broadcast to those of x: one code for all images."""
    if condition is None:
        return None
    leading, given = x.shape[:-1], condition.shape[:-1]
    tail = leading[len(leading) - len(given) :]
    if len(given) > len(leading) or any(n not in (1, m) for n, m in zip(given, tail, strict=True)):
        raise ValueError(
            f"condition must have leading axes that broadcast to {leading}, "
            f"got shape {condition.shape}"
        )
    return condition
