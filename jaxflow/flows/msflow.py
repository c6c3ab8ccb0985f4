"""MSFlow: a flow for each map, then one that exchanges between all maps."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from jaxflow.flows.arguments import check_count, check_maps, check_sequence
from jaxflow.flows.bijection import Bijection, Value
from jaxflow.flows.chain import Chain
from jaxflow.flows.conditioner import fan_in_uniform
from jaxflow.flows.coupling_flow import CouplingFlow
from jaxflow.flows.cross_map import couple_both_halves
from jaxflow.flows.fusion import FusionConditioner, NormalizedConvConditioner
from jaxflow.flows.per_map import PerMap
from jaxflow.flows.permutation import HardPermutation
from jaxflow.flows.transform import AffineTransform


class ParallelFlow2D(CouplingFlow, kw_only=True):
    """The flow that MSFlow has for one map: `CouplingFlow` with a `NormalizedConvConditioner`.

    Attributes:
      hidden_ratio: hidden width over the conditioner's input width, condition included.
      **others: see `CouplingFlow`.

    Reference: arXiv 2308.15300, section 3.2.
    """

    clamp: float = 1.9

    @nn.nowrap
    def conditioner(self, step: int, **options: Any) -> NormalizedConvConditioner:
        """Return the two convolutions of a step."""
        del step  # All are alike.
        return NormalizedConvConditioner(**options)


class MSFlow(Bijection, kw_only=True):
    """Run each map through its own flow, given its position; then fuse all maps.

    forward: each x_i through a `ParallelFlow2D` and a fixed random permutation; then a
      `CrossMapCoupling` with a `FusionConditioner` transforms one half of the channels of all maps,
      and another the other half;
    log_det: f[b, h_i, w_i] a map, of its flow and of its part of the fusion;
    inverse: exact, in closed form.

    The public code pools the maps first; that is the normalization `average_pool`.

    Attributes:
      parallel_steps: coupling steps of the flow of each map.
      hidden_ratio: hidden width of their conditioners over their input width, condition included.
      clamp: bound of |log_scale|.
      log_scale: of the parallel flows, see `Coupling`; the fusion's is "arctan".
      permutation: of the parallel flows, see `CouplingFlow`.
      dtype: compute dtype of the conditioners; None follows x.
      param_dtype: dtype of the parameters.
      precision: of every product, as `jax.lax` takes it.
      output_init: initializer of each conditioner's last kernels; PyTorch's default.

    Raises:
      ValueError: as `CouplingFlow`, and if parallel_steps are not as many as the maps.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> flow = MSFlow(parallel_steps=(1, 1))
      >>> x = jnp.ones((2, 4, 4, 6)), jnp.ones((2, 2, 2, 8))
      >>> z, variables = jax.eval_shape(flow.init_with_output, jax.random.key(0), x)
      >>> [each.shape for each in z]
      [(2, 4, 4, 6), (2, 2, 2, 8)]

    Reference: arXiv 2308.15300.
    """

    joint = True

    parallel_steps: Sequence[int] = (2, 5, 8)
    hidden_ratio: float = 1.0
    clamp: float = 1.9
    log_scale: str = "tanh"
    permutation: str = "hard"
    dtype: jnp.dtype | None = None
    param_dtype: jnp.dtype = jnp.float32
    precision: Any = "highest"
    output_init: Callable = fan_in_uniform

    def setup(self):
        """Make the parallel flows and the fusion."""
        check_sequence("parallel_steps", self.parallel_steps, "a sequence of integers")
        for steps in self.parallel_steps:
            check_count("parallel_steps", steps)
        maps = len(self.parallel_steps)
        parts = {
            "dtype": self.dtype,
            "param_dtype": self.param_dtype,
            "precision": self.precision,
            "output_init": self.output_init,
        }
        parallel = [
            ParallelFlow2D(
                steps=steps,
                hidden_ratio=self.hidden_ratio,
                clamp=self.clamp,
                log_scale=self.log_scale,
                permutation=self.permutation,
                parent=None,
                **parts,
            )
            for steps in self.parallel_steps
        ]
        conditioner = FusionConditioner(parent=None, **parts)
        transform = AffineTransform(self.clamp, "arctan", shift=1.0)
        links = [
            PerMap(parallel, parent=None),
            PerMap(HardPermutation(parent=None), maps, parent=None),
            *couple_both_halves(conditioner, transform, maps),
        ]
        self.chain = Chain(links)

    def forward_and_log_det(self, x: Value, condition: Value = None) -> tuple[Value, Value]:
        """Map each x f[..., h, w, c], given its condition, to z and log_det f[..., h, w], nats."""
        return self.chain.forward_and_log_det(self._check("x", x), condition)

    def inverse_and_log_det(self, z: Value, condition: Value = None) -> tuple[Value, Value]:
        """Map each z f[..., h, w, c] to x and the inverse's log_det f[..., h, w], nats."""
        return self.chain.inverse_and_log_det(self._check("z", z), condition)

    @nn.nowrap
    def _check(self, name, maps):
        steps = tuple(self.parallel_steps)
        if len(check_maps(name, maps)) != len(steps):
            raise ValueError(
                f"parallel_steps must be one number for each of {len(maps)} maps, got {steps}"
            )
        return maps
