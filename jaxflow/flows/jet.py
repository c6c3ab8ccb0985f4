"""Jet: a flow whose conditioners are transformers."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from jaxflow.flows.arguments import check_choice, check_count, check_sequence
from jaxflow.flows.attention import AttentionConditioner
from jaxflow.flows.bijection import Bijection, Value
from jaxflow.flows.chain import Chain
from jaxflow.flows.checkerboard import CheckerboardCoupling
from jaxflow.flows.conjugate import Conjugate
from jaxflow.flows.coupling import Coupling
from jaxflow.flows.permutation import HardPermutation
from jaxflow.flows.transform import SigmoidTransform

_KINDS = ("channels", "spatial")


class Jet(Bijection, kw_only=True):
    """Couplings of channels and of positions over a feature map, conditioned by transformers.

    forward: `z = f_steps(... f_1(x))`. f_i is a `Coupling` of half of the channels, drawn at random
      at init and put back after it, or a `CheckerboardCoupling`, whose colours change places from
      one to the next; both scale by `2 sigmoid(s)`, after the shift, and so start as the identity;
    log_det: f[b, h, w], the sum over the steps; inverse: exact, in closed form.

    The public code cuts an image into patches; here every position of a map is one, as it is. With
    a condition, it is read beside the channels; the public code has attention to it instead.

    Attributes:
      steps: number of couplings.
      kinds: "channels" and "spatial", repeated over the steps.
      width: channels of the transformers.
      blocks: of each transformer.
      heads: of the attention, a divisor of width.
      dtype: compute dtype of the conditioner; None follows x.
      param_dtype: dtype of the parameters.
      precision: of every product, as `jax.lax` takes it.
      output_init: initializer of each conditioner's last kernel.

    Raises:
      ValueError: if there are no kinds or one is unknown, a number is wrong, x is not
        f[..., h, w, c], or its positions or channels are odd in number where a kind is "spatial".

    Example:
      >>> import jax, jax.numpy as jnp
      >>> flow, x = Jet(steps=1, width=8), jnp.ones((1, 4, 5, 6))
      >>> variables = jax.jit(flow.init)(jax.random.key(0), x)
      >>> z, log_det = flow.apply(variables, x, method="forward_and_log_det")
      >>> z.shape, log_det.shape
      ((1, 4, 5, 6), (1, 4, 5))

    Reference: arXiv 2412.15129.
    """

    steps: int = 8
    kinds: Sequence[str] = ("channels", "channels", "spatial")
    width: int = 256
    blocks: int = 1
    heads: int = 4
    dtype: jnp.dtype | None = None
    param_dtype: jnp.dtype = jnp.float32
    precision: Any = "highest"
    output_init: Callable = nn.initializers.zeros

    def setup(self):
        """Make the chain of steps."""
        check_count("steps", self.steps)
        check_sequence("kinds", self.kinds, "a sequence of names")
        if not self.kinds:
            raise ValueError("kinds must name at least one, got none")
        for kind in self.kinds:
            check_choice("kinds", kind, _KINDS)
        kinds = [self.kinds[i % len(self.kinds)] for i in range(self.steps)]
        self.chain = Chain([self._step(kinds, i) for i in range(self.steps)])

    @nn.nowrap
    def _step(self, kinds: Sequence[str], i: int) -> Bijection:
        conditioner = AttentionConditioner(
            self.width,
            self.blocks,
            self.heads,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            precision=self.precision,
            output_init=self.output_init,
            parent=None,
        )
        scale = SigmoidTransform()
        if kinds[i] == "spatial":
            swapped = kinds[:i].count("spatial") % 2 == 1
            return CheckerboardCoupling(conditioner, swapped, scale, parent=None)
        coupling = Coupling(conditioner, coupling=scale, parent=None)
        return Conjugate(coupling, HardPermutation(parent=None), parent=None)

    def forward_and_log_det(self, x: Value, condition: Value = None) -> tuple[Value, Value]:
        """Map x f[..., h, w, c], given condition f[..., d], to z and log_det f[..., h, w], nats."""
        return self.chain.forward_and_log_det(x, condition)

    def inverse_and_log_det(self, z: Value, condition: Value = None) -> tuple[Value, Value]:
        """Map z f[..., h, w, c] to x and the inverse's log_det f[..., h, w], nats."""
        return self.chain.inverse_and_log_det(z, condition)
