"""FastFlow's two-dimensional flow."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxflow.flows.arguments import check_count, check_odd, check_sequence
from jaxflow.flows.chain import Chain
from jaxflow.flows.conditioner import ConvConditioner, fan_in_uniform
from jaxflow.flows.coupling import CouplingStep


class FastFlow2D(nn.Module):
    """A fully convolutional normalizing flow over a feature map.

    forward: `z = f_steps(... f_1(x))`, each f_i a `CouplingStep` whose convolutions are
      kernel_sizes[i % len(kernel_sizes)] wide.
    log_det: f[b, h, w], the sum over channels and steps of the analytic log-scales at each
      position; its sum over h and w is the log-determinant of the whole map.
    inverse: exact, in closed form.

    Attributes:
      steps: number of coupling steps.
      kernel_sizes: odd sizes repeated over the steps: (3, 1) alternates, (3,) is 3 x 3 only.
      hidden_ratio: hidden width over the channels of a, the half that conditions.
      clamp: bound of the coupling's |log_scale|.
      coupling: "affine" or "additive".
      log_scale: "tanh" or "unit_slope_tanh".
      permutation: "hard" or "soft".
      dtype: compute dtype of the convolutions; None follows x. Latents and log_det stay in at
        least float32.
      param_dtype: dtype of the parameters.
      output_init: initializer of each conditioner's last kernel; PyTorch's default.

    Raises:
      ValueError: if steps < 1, kernel_sizes is empty or even, hidden_ratio or clamp is not
        positive, a choice is unknown, a dtype is not floating, x is not f[..., h, w, c], c < 2, or
        the condition has leading axes that do not broadcast to x's.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> flow = FastFlow2D(steps=2)
      >>> x = jnp.ones((1, 4, 5, 6))
      >>> variables = flow.init(jax.random.key(0), x)
      >>> z, log_det = flow.apply(variables, x, method="forward_and_log_det")
      >>> z.shape, log_det.shape
      ((1, 4, 5, 6), (1, 4, 5))

    Reference: arXiv 2111.07677, section 3.3.
    """

    steps: int = 8
    kernel_sizes: Sequence[int] = (3, 1)
    hidden_ratio: float = 1.0
    clamp: float = 2.0
    coupling: str = "affine"
    log_scale: str = "tanh"
    permutation: str = "hard"
    dtype: jnp.dtype | None = None
    param_dtype: jnp.dtype = jnp.float32
    output_init: Callable = fan_in_uniform

    def setup(self):
        """Make the chain of coupling steps."""
        check_count("steps", self.steps)
        check_sequence("kernel_sizes", self.kernel_sizes, "a sequence of odd integers")
        if not self.kernel_sizes:
            raise ValueError("kernel_sizes must name at least one size, got none")
        for size in self.kernel_sizes:
            check_odd("kernel_size", size)
        self.chain = Chain([_step(self, i) for i in range(self.steps)])

    def __call__(self, x: jax.Array, condition: jax.Array | None = None) -> jax.Array:
        """Return z f[b, h, w, c] alone; see `forward_and_log_det`."""
        return self.chain(x, condition)

    def forward_and_log_det(
        self, x: jax.Array, condition: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Map x f[b, h, w, c] to z f[b, h, w, c] and log_det f[b, h, w], nats."""
        return self.chain.forward_and_log_det(x, condition)

    def inverse_and_log_det(
        self, z: jax.Array, condition: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Map z f[b, h, w, c] to x f[b, h, w, c] and the inverse's log_det f[b, h, w], nats."""
        return self.chain.inverse_and_log_det(z, condition)


# No method: `nn.tabulate` would count the FLOPs of one by itself.
def _step(flow, i: int) -> CouplingStep:
    conditioner = functools.partial(
        ConvConditioner,
        kernel_size=flow.kernel_sizes[i % len(flow.kernel_sizes)],
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
