"""The coupling of positions: those of one colour of a checkerboard, given those of the other."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxflow.flows.arguments import check_condition, check_map, widen
from jaxflow.flows.bijection import Bijection
from jaxflow.flows.transform import Transform, make_transform


class CheckerboardCoupling(Bijection):
    """Transform the vectors at every second position, given all others.

    With the positions in rows, a are those where row + column is even, b the others. As many
    positions condition as are transformed; each is cut into two of half its channels, so that the
    conditioner reads and writes maps f[..., h, w, c / 2]:

      forward: `z_a = a, z_b = transform(b; conditioner(cut(a)))`;
      log_det: at each position of b that of its channels, at those of a 0;
      inverse: the same in reverse: a is known.

    Attributes:
      conditioner: a Flax module called as `module(a, condition, features=n)` on such maps.
      swapped: whether a and b change places.
      coupling: as `Coupling` takes it.

    Raises:
      ValueError: if the conditioner is no module, x is not f[..., h, w, c], h w is odd, or c is.

    Reference: arXiv 1605.08803, section 3.4; arXiv 2412.15129, section 3.
    """

    conditioner: nn.Module
    swapped: bool = False
    coupling: str | Transform = "affine"

    def setup(self):
        """Check the choices, and make the conditioner's variables the coupling's."""
        self.transform = make_transform(self.coupling, 2.0, "tanh")
        if not isinstance(self.conditioner, nn.Module):
            raise ValueError(f"conditioner must be a Flax module, got {self.conditioner!r}")
        # A copy made here, not the field: under `nn.remat` and the like a field is bound outside.
        self.network = self.conditioner.copy()
        nn.share_scope(self, self.network)

    def forward_and_log_det(
        self, x: jax.Array, condition: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Map x f[..., h, w, c] to z f[..., h, w, c] and log_det f[..., h, w], nats."""
        return self._run(self.transform.forward, widen(check_map("x", x)), condition)

    def inverse_and_log_det(
        self, z: jax.Array, condition: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Map z f[..., h, w, c] to x and the inverse's log_det f[..., h, w], nats."""
        return self._run(self.transform.inverse, widen(check_map("z", z)), condition)

    @nn.nowrap
    def _run(self, transform, x, condition):
        *batch, height, width, channels = x.shape
        if height * width % 2 or channels % 2:
            raise ValueError(
                "a checkerboard needs an even number of positions and of channels, got shape "
                f"{x.shape}"
            )
        colour = np.indices((height, width)).sum(0).reshape(-1) % 2
        known, moved = (np.flatnonzero(colour == c) for c in ((1, 0) if self.swapped else (0, 1)))
        halves = (*batch, height, width, channels // 2)
        positions = x.reshape(*batch, height * width, channels)
        told = None
        if (condition := check_condition(condition, x.shape[:-1])) is not None:
            told = jnp.broadcast_to(condition, (*x.shape[:-1], condition.shape[-1]))
            of_known = told.reshape(*batch, height * width, told.shape[-1])[..., known, :]
            told = jnp.repeat(of_known, 2, axis=-2).reshape(told.shape)
        a = positions[..., known, :].reshape(halves)
        b = positions[..., moved, :].reshape(halves)
        features = self.transform.outputs * halves[-1]
        numbers = self.network(a, told, features=features).astype(a.dtype)
        b, log_det = transform(b, numbers)
        z = positions.at[..., moved, :].set(b.reshape(*batch, len(moved), channels))
        of_moved = log_det.reshape(*batch, len(moved), 2).sum(-1)
        everywhere = jnp.zeros(positions.shape[:-1], log_det.dtype).at[..., moved].set(of_moved)
        return z.reshape(x.shape), everywhere.reshape(x.shape[:-1])
