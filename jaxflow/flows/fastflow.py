"""FastFlow's two-dimensional flow."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

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
      ValueError: if steps < 1, kernel_sizes is empty or even, a choice is unknown, or c < 2.

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
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")
        if not self.kernel_sizes:
            raise ValueError("kernel_sizes must name at least one size, got none")
        self.chain = Chain([self._step(i) for i in range(self.steps)])

    def _step(self, i: int) -> CouplingStep:
        conditioner = functools.partial(
            ConvConditioner,
            kernel_size=self.kernel_sizes[i % len(self.kernel_sizes)],
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
