"""A flow of Glow's steps over a feature map."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from jaxflow.flows.affine import ActNorm
from jaxflow.flows.arguments import check_count
from jaxflow.flows.bijection import Bijection, Value
from jaxflow.flows.chain import Chain
from jaxflow.flows.conditioner import conv_conditioner
from jaxflow.flows.coupling import Coupling
from jaxflow.flows.linear import InvertibleLinear
from jaxflow.flows.transform import Transform


class Glow2D(Bijection, kw_only=True):
    """Steps of ActNorm, learned linear map and convolutional coupling over a feature map.

    forward: `z = f_steps(... f_1(x))`, each f_i a `Chain` of an `ActNorm`, an `InvertibleLinear`
      and a `Coupling`; log_det: f[b, h, w], the sum over the steps; inverse: exact, in closed
      form.

    It starts as a linear map, for the last kernels are zeros; `start_from_data` sets its ActNorms.
    Glow's own network between x and s, t has a third convolution and 512 channels, its scale is a
    sigmoid, and its levels squeeze the grid; here the coupling is FastFlow's, so that both compare.

    Attributes:
      steps: number of them.
      kernel_sizes: odd sizes of the conditioner's convolutions, repeated over the steps.
      hidden_ratio: hidden width over the channels of a, the half that conditions.
      clamp: bound of the coupling's |log_scale|.
      coupling: "affine", "additive", "gin", "spline", "sigmoid", or a `Transform`; see `Coupling`.
      log_scale: "tanh", "unit_slope_tanh", "arctan" or "unclamped".
      dtype: compute dtype of the conditioner; None follows x.
      param_dtype: dtype of the parameters.
      precision: of every product, as `jax.lax` takes it.
      output_init: initializer of each conditioner's last kernel.

    Raises:
      ValueError: as `FastFlow2D`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> flow, x = Glow2D(steps=1), jnp.ones((1, 4, 5, 6))
      >>> variables = jax.jit(flow.init)(jax.random.key(0), x)
      >>> z, log_det = flow.apply(variables, x, method="forward_and_log_det")
      >>> z.shape, log_det.shape
      ((1, 4, 5, 6), (1, 4, 5))

    Reference: arXiv 1807.03039, section 3.
    """

    steps: int = 8
    kernel_sizes: Sequence[int] = (3, 1)
    hidden_ratio: float = 1.0
    clamp: float = 2.0
    coupling: str | Transform = "affine"
    log_scale: str = "tanh"
    dtype: jnp.dtype | None = None
    param_dtype: jnp.dtype = jnp.float32
    precision: Any = "highest"
    output_init: Callable = nn.initializers.zeros

    starts_from_data = True

    def setup(self):
        """Make the chain of steps."""
        check_count("steps", self.steps)
        self.chain = Chain([link for i in range(self.steps) for link in self._step(i)])

    @nn.nowrap
    def _step(self, i: int) -> list[Bijection]:
        conditioner = conv_conditioner(
            self.kernel_sizes,
            i,
            hidden_ratio=self.hidden_ratio,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            precision=self.precision,
            output_init=self.output_init,
            parent=None,
        )
        return [
            ActNorm(self.param_dtype, parent=None),
            InvertibleLinear(param_dtype=self.param_dtype, precision=self.precision, parent=None),
            Coupling(conditioner, self.clamp, self.coupling, self.log_scale, parent=None),
        ]

    def forward_and_log_det(self, x: Value, condition: Value = None) -> tuple[Value, Value]:
        """Map x f[..., h, w, c], given condition f[..., d], to z and log_det f[..., h, w], nats."""
        return self.chain.forward_and_log_det(x, condition)

    def inverse_and_log_det(self, z: Value, condition: Value = None) -> tuple[Value, Value]:
        """Map z f[..., h, w, c] to x and the inverse's log_det f[..., h, w], nats."""
        return self.chain.inverse_and_log_det(z, condition)
