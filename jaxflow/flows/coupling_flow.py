"""The published flows: coupling steps over a feature map (FastFlow) and over vectors (CFLOW)."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from jaxflow.flows.affine import GlobalAffine
from jaxflow.flows.arguments import check_choice, check_count
from jaxflow.flows.bijection import Bijection, Value
from jaxflow.flows.chain import Chain
from jaxflow.flows.conditioner import (
    ConvConditioner,
    DenseConditioner,
    conv_conditioner,
    fan_in_uniform,
)
from jaxflow.flows.conjugate import Conjugate
from jaxflow.flows.coupling import Coupling
from jaxflow.flows.linear import PERMUTATIONS
from jaxflow.flows.transform import Transform


class CouplingFlow(Bijection, kw_only=True):
    """The body of `FastFlow2D` and `CFlowDecoder`: steps of coupling, global affine, permutation.

    forward: `z = f_steps(... f_1(x))`, each f_i a `Chain` of a `Coupling`, a `GlobalAffine` and a
      permutation, FrEIA's all-in-one step. With `conjugate` each f_i is
      `permutation^-1(coupling(permutation(x)))`, after one `GlobalAffine` and permutation at first.
    log_det: f[...], the sum over channels and steps of the analytic log-scales at each position.
    inverse: exact, in closed form.

    A uniformly scaling flow, whose log_det is the same everywhere, has additive couplings and the
    permutation "linear"; its authors' own has `conjugate` too.

    An author of another flow of this form writes the method `conditioner`.

    Attributes:
      steps: number of coupling steps.
      hidden_ratio: hidden width of the conditioner over the width that it reads.
      clamp: bound of the coupling's |log_scale|.
      coupling: "affine", "additive", "gin", "spline", "sigmoid", or a `Transform`; see `Coupling`.
      log_scale: "tanh", "unit_slope_tanh", "arctan" or "unclamped".
      permutation: "hard", an index; "soft", a rotation; both fixed; or "linear", a learned matrix,
        an `InvertibleLinear`.
      conjugate: whether the permutation goes before each coupling and its inverse after it.
      dtype: compute dtype of the conditioner; None follows x. Latents and log_det stay in at least
        float32.
      param_dtype: dtype of the parameters.
      precision: of every product, as `jax.lax` takes it: "highest" is no TF32 on a GPU, and six
        passes of bfloat16 on a TPU; "default" is the fastest.
      output_init: initializer of each conditioner's last kernel; PyTorch's default.

    Raises:
      ValueError: if steps < 1, hidden_ratio or clamp is not positive, a choice is unknown, a dtype
        is not floating, precision is none of JAX's, c < 2, or the condition has leading axes that
        do not broadcast to x's.
    """

    steps: int = 8
    hidden_ratio: float = 1.0
    clamp: float = 2.0
    coupling: str | Transform = "affine"
    log_scale: str = "tanh"
    permutation: str = "hard"
    conjugate: bool = False
    dtype: jnp.dtype | None = None
    param_dtype: jnp.dtype = jnp.float32
    precision: Any = "highest"
    output_init: Callable = fan_in_uniform

    def setup(self):
        """Make the chain of steps."""
        check_count("steps", self.steps)
        check_choice("permutation", self.permutation, PERMUTATIONS)
        links = [self._step(i) for i in range(self.steps)]
        if self.conjugate:
            # The steps then change no volume; these do.
            links = [self._affine(), self._permutation(), *links]
        self.chain = Chain(links)

    @property
    def pointwise(self) -> bool:
        """Whether the conditioner of every step is."""
        return all(self._step(i).pointwise for i in range(self.steps))

    @nn.nowrap
    def conditioner(self, step: int, **options: Any) -> nn.Module:
        """Return the conditioner of a step, counted from 0; see `Coupling`.

        Args:
          step: its number.
          **options: the fields that every conditioner has here: hidden_ratio, dtype, param_dtype,
            precision, output_init and parent.
        """
        raise NotImplementedError(f"{type(self).__name__} must define conditioner")

    @nn.nowrap
    def _step(self, i: int) -> Bijection:
        conditioner = self.conditioner(
            i,
            hidden_ratio=self.hidden_ratio,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            precision=self.precision,
            output_init=self.output_init,
            parent=None,
        )
        # Flax draws by these names, which are FrEIA's.
        coupling = Coupling(
            conditioner,
            clamp=self.clamp,
            coupling=self.coupling,
            log_scale=self.log_scale,
            parent=None,
            name="subnet",
        )
        if self.conjugate:
            return Conjugate(coupling, self._permutation(), parent=None)
        return Chain([coupling, self._affine(), self._permutation()], parent=None)

    @nn.nowrap
    def _affine(self) -> Bijection:
        return GlobalAffine(param_dtype=self.param_dtype, parent=None, name="affine")

    @nn.nowrap
    def _permutation(self) -> Bijection:
        return PERMUTATIONS[self.permutation](
            param_dtype=self.param_dtype, precision=self.precision, parent=None, name="shuffle"
        )

    def forward_and_log_det(self, x: Value, condition: Value = None) -> tuple[Value, Value]:
        """Map x f[..., c], given condition f[..., d], to z f[..., c] and log_det f[...], nats."""
        return self.chain.forward_and_log_det(x, condition)

    def inverse_and_log_det(self, z: Value, condition: Value = None) -> tuple[Value, Value]:
        """Map z f[..., c] to x f[..., c] and the inverse's log_det f[...], nats."""
        return self.chain.inverse_and_log_det(z, condition)


class FastFlow2D(CouplingFlow, kw_only=True):
    """A fully convolutional normalizing flow over a feature map.

    The `CouplingFlow` whose conditioner is two convolutions, kernel_sizes[i % len(kernel_sizes)]
    wide in step i. log_det is f[b, h, w]; its sum over h and w is the log-determinant of the whole
    map.

    Attributes:
      kernel_sizes: odd sizes repeated over the steps: (3, 1) alternates, (3,) is 3 x 3 only.
      hidden_ratio: hidden width over the channels of a, the half that conditions.
      **others: see `CouplingFlow`.

    Raises:
      ValueError: as `CouplingFlow`, and if kernel_sizes is empty or even, or x is not
        f[..., h, w, c].

    Example:
      >>> import jax, jax.numpy as jnp
      >>> flow = FastFlow2D(steps=1)
      >>> x = jnp.ones((1, 4, 5, 6))
      >>> variables = jax.jit(flow.init)(jax.random.key(0), x)
      >>> z, log_det = flow.apply(variables, x, method="forward_and_log_det")
      >>> z.shape, log_det.shape
      ((1, 4, 5, 6), (1, 4, 5))

    Reference: arXiv 2111.07677, section 3.3.
    """

    kernel_sizes: Sequence[int] = (3, 1)

    @nn.nowrap
    def conditioner(self, step: int, **options: Any) -> ConvConditioner:
        """Return the two convolutions of a step."""
        return conv_conditioner(self.kernel_sizes, step, **options)


class CFlowDecoder(CouplingFlow, kw_only=True):
    """A normalizing flow over single feature vectors, given a condition such as their position.

    The `CouplingFlow` whose conditioner is two dense layers that read concat(a, condition). Without
    a condition, at init and at every later call, it is the unconditional flow (UFLOW).

    Attributes:
      hidden_ratio: hidden width over the conditioner's input width, condition included.
      clamp: bound of the coupling's |log_scale|.
      permutation: "soft", "hard" or "linear".
      **others: see `CouplingFlow`.

    Raises:
      ValueError: as `CouplingFlow`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxflow.flows import position_encoding
      >>> decoder = CFlowDecoder(steps=1)
      >>> x, code = jnp.ones((3, 4, 5, 6)), position_encoding(4, 5)
      >>> variables = jax.jit(decoder.init)(jax.random.key(0), x, code)
      >>> z, log_det = decoder.apply(variables, x, code, method="forward_and_log_det")
      >>> z.shape, log_det.shape
      ((3, 4, 5, 6), (3, 4, 5))

    Reference: arXiv 2107.12571, section 4.2.
    """

    hidden_ratio: float = 2.0
    clamp: float = 1.9
    permutation: str = "soft"

    @nn.nowrap
    def conditioner(self, step: int, **options: Any) -> DenseConditioner:
        """Return the two dense layers of a step."""
        del step  # All are alike.
        return DenseConditioner(**options)
