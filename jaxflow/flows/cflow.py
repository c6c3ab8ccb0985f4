"""CFLOW's conditional flow over feature vectors."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxflow.flows.arguments import check_count
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
      ValueError: if steps < 1, hidden_ratio or clamp is not positive, a choice is unknown, a dtype
        is not floating, c < 2, or the condition has leading axes that do not broadcast to x's.

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
        check_count("steps", self.steps)
        self.chain = Chain([_step(self) for _ in range(self.steps)])

    def __call__(self, x: jax.Array, condition: jax.Array | None = None) -> jax.Array:
        """Return z f[..., c] alone; see `forward_and_log_det`."""
        return self.forward_and_log_det(x, condition)[0]

    def forward_and_log_det(
        self, x: jax.Array, condition: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Map x f[..., c], given condition f[..., d], to z f[..., c] and log_det f[...], nats."""
        return self.chain.forward_and_log_det(x, condition)

    def inverse_and_log_det(
        self, z: jax.Array, condition: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Map z f[..., c] to x f[..., c] and the inverse's log_det f[...], nats."""
        return self.chain.inverse_and_log_det(z, condition)


# No method: `nn.tabulate` would count the FLOPs of one by itself.
def _step(flow) -> CouplingStep:
    conditioner = functools.partial(
        DenseConditioner,
        hidden_ratio=flow.hidden_ratio,
        dtype=flow.dtype,
        param_dtype=flow.param_dtype,
        output_init=flow.output_init,
    )
    return CouplingStep(
        conditioner,
        clamp=flow.clamp,
        coupling=flow.coupling,
        log_scale=flow.log_scale,
        permutation=flow.permutation,
        param_dtype=flow.param_dtype,
    )
