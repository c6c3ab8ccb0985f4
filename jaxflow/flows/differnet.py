"""DifferNet: a fully connected flow over one vector of an image, of several scales."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from jaxflow.flows.arguments import check_choice, check_count
from jaxflow.flows.bijection import Bijection, Value
from jaxflow.flows.chain import Chain
from jaxflow.flows.conditioner import DenseConditioner, fan_in_uniform
from jaxflow.flows.coupling import Coupling
from jaxflow.flows.joined import Joined
from jaxflow.flows.linear import PERMUTATIONS
from jaxflow.flows.permutation import SwapHalves
from jaxflow.flows.transform import AffineTransform

_HIDDEN_LAYERS = 3


class DifferNet(Bijection, kw_only=True):
    """Join the channels of all maps; in each step, transform one half of them and then the other.

    forward: each step permutes the channels of the joined maps, then a `Coupling` with a
      `DenseConditioner` of three hidden layers transforms one half of them, and another the other
      half; see `Joined`;
    log_det: f[b, h, w] a map, in shares of their channels;
    inverse: exact, in closed form.

    The paper's maps have one position: the mean of an encoder's last features, for an image at
    three sizes (the options `pooled` and `input_scales` of encoders). Maps of any one grid are
    taken, each position by itself.

    Attributes:
      steps: number of them.
      hidden_ratio: hidden width over the channels of a, the half that conditions; the published one
        is 2,048 for 384 channels.
      clamp: bound of |log_scale|.
      log_scale: "tanh", "unit_slope_tanh", "arctan" or "unclamped".
      permutation: "hard", "soft" or "linear"; see `CouplingFlow`.
      dtype: compute dtype of the conditioners; None follows x.
      param_dtype: dtype of the parameters.
      precision: of every product, as `jax.lax` takes it.
      output_init: initializer of each conditioner's last kernel; PyTorch's default.

    Raises:
      ValueError: as `Joined` and `Coupling`, and if steps < 1 or a choice is unknown.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> flow = DifferNet(steps=1)
      >>> x = jnp.ones((2, 1, 1, 6)), jnp.ones((2, 1, 1, 6))
      >>> z, variables = jax.eval_shape(flow.init_with_output, jax.random.key(0), x)
      >>> [each.shape for each in z]
      [(2, 1, 1, 6), (2, 1, 1, 6)]

    Reference: arXiv 2008.12577, section 3.2.
    """

    joint = True

    steps: int = 8
    hidden_ratio: float = 2048 / 384
    clamp: float = 3.0
    log_scale: str = "arctan"
    permutation: str = "hard"
    dtype: jnp.dtype | None = None
    param_dtype: jnp.dtype = jnp.float32
    precision: Any = "highest"
    output_init: Callable = fan_in_uniform

    def setup(self):
        """Make the steps over the joined maps."""
        check_count("steps", self.steps)
        check_choice("permutation", self.permutation, PERMUTATIONS)
        links = [link for _ in range(self.steps) for link in self._step()]
        self.chain = Joined(Chain(links, parent=None))

    @property
    def pointwise(self) -> bool:
        """Yes: every position is taken by itself."""
        return True

    @nn.nowrap
    def _step(self) -> list[Bijection]:
        permutation = PERMUTATIONS[self.permutation](
            param_dtype=self.param_dtype, precision=self.precision, parent=None
        )
        transform = AffineTransform(self.clamp, self.log_scale, shift=1.0)
        first, second = (
            Coupling(
                DenseConditioner(
                    self.hidden_ratio,
                    self.dtype,
                    self.param_dtype,
                    self.precision,
                    self.output_init,
                    _HIDDEN_LAYERS,
                    parent=None,
                ),
                coupling=transform,
                parent=None,
            )
            for _ in range(2)
        )
        return [permutation, first, SwapHalves(parent=None), second]

    def forward_and_log_det(self, x: Value, condition: Value = None) -> tuple[Value, Value]:
        """Map each x f[..., c_i], given its condition, to z and log_det f[...], nats."""
        return self.chain.forward_and_log_det(x, condition)

    def inverse_and_log_det(self, z: Value, condition: Value = None) -> tuple[Value, Value]:
        """Map each z f[..., c_i] to x and the inverse's log_det f[...], nats."""
        return self.chain.inverse_and_log_det(z, condition)
