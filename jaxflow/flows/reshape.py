"""Bijections that change the grid: fewer positions of more channels, or channels apart."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxflow.flows.arguments import check_array, check_count, check_map, per_position, widen
from jaxflow.flows.bijection import Bijection


class _Blocks(Bijection):
    """What `Squeeze` and `Haar` share: a block of 2 x 2 positions becomes one."""

    def forward_and_log_det(
        self, x: jax.Array, condition: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Map x f[..., h, w, c] to z f[..., h / 2, w / 2, 4 c], and return zeros of its grid."""
        z = self._mix(_blocks(widen(check_map("x", x))))
        z = z.reshape(*z.shape[:-2], 4 * z.shape[-1])
        return z, per_position(0.0, z)

    def inverse_and_log_det(
        self, z: jax.Array, condition: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Map z f[..., h, w, 4 c] to x f[..., 2 h, 2 w, c], and return zeros of its grid."""
        z = widen(check_map("z", z))
        *positions, channels = z.shape
        if channels % 4:
            raise ValueError(f"channels must be a multiple of 4, got {channels}")
        x = _grid(self._mix(z.reshape(*positions, 4, channels // 4)))
        return x, per_position(0.0, x)

    @nn.nowrap
    def carry_forward(self, log_det: jax.Array) -> jax.Array:
        """Add up the log_det f[..., h, w] of every block: f[..., h / 2, w / 2]."""
        return _blocks(log_det[..., None]).sum((-2, -1))

    @nn.nowrap
    def carry_inverse(self, log_det: jax.Array) -> jax.Array:
        """Spread log_det f[..., h, w] evenly over every block: f[..., 2 h, 2 w]."""
        quarter = log_det[..., None, None] / 4
        return _grid(jnp.broadcast_to(quarter, (*log_det.shape, 4, 1)))[..., 0]

    @nn.nowrap
    def _mix(self, blocks: jax.Array) -> jax.Array:
        """Map blocks f[..., 4, c] to f[..., 4, c]; it is its own inverse, of determinant 1."""
        raise NotImplementedError(f"{type(self).__name__} must define _mix")


class Squeeze(_Blocks):
    """Make the channels of 2 x 2 positions those of one.

    forward: `z[y, x, (2 i + j) c + k] = x[2 y + i, 2 x + j, k]`; log_det: 0; inverse: the same in
    reverse. It carries a log_det over as the sum of every block.

    Raises:
      ValueError: if x is not f[..., h, w, c] with an even height and width, or the channels of z
        are no multiple of 4.

    Example:
      >>> import jax.numpy as jnp
      >>> Squeeze().apply({}, jnp.ones((1, 4, 6, 3))).shape
      (1, 2, 3, 12)

    Reference: arXiv 1605.08803, section 3.6.
    """

    @nn.nowrap
    def _mix(self, blocks: jax.Array) -> jax.Array:
        return blocks


class Haar(_Blocks):
    """Map every channel of 2 x 2 positions to its four coefficients of the Haar wavelet.

    forward: of the values a, b over c, d of a block, first the average of all channels, then the
      differences: `(a + b + c + d) / 2, (a - b + c - d) / 2, (a + b - c - d) / 2,
      (a - b - c + d) / 2`. This is orthonormal.
    log_det: 0; inverse: the same matrix. It carries a log_det over as the sum of every block.

    Raises:
      ValueError: if x is not f[..., h, w, c] with an even height and width, or the channels of z
        are no multiple of 4.

    Reference: arXiv 1907.02392.
    """

    @nn.nowrap
    def _mix(self, blocks: jax.Array) -> jax.Array:
        a, b, c, d = (blocks[..., i, :] for i in range(4))
        top, bottom, left, right = a + b, c + d, a - b, c - d
        mixed = [top + bottom, left + right, top - bottom, left - right]
        return 0.5 * jnp.stack(mixed, axis=-2)


class Split(Bijection):
    """Split the channels into a tuple of equal parts, for flows of several scales.

    forward: `z_i = x[..., i c / parts : (i + 1) c / parts]`; log_det: 0; inverse: the parts side by
    side. It carries a log_det over in equal shares. `Inverse(Split())` joins a tuple.

    Attributes:
      parts: of the tuple.

    Raises:
      ValueError: if parts is no positive integer, c is no multiple of it, or z is not a tuple of
        that many arrays of the same positions and channels.

    Example:
      >>> import jax.numpy as jnp
      >>> [z.shape for z in Split().apply({}, jnp.ones((1, 4, 6, 8)))]
      [(1, 4, 6, 4), (1, 4, 6, 4)]

    Reference: arXiv 1605.08803, section 3.6.
    """

    pointwise = True

    parts: int = 2

    def forward_and_log_det(
        self, x: jax.Array, condition: Any = None
    ) -> tuple[tuple[jax.Array, ...], tuple[jax.Array, ...]]:
        """Split x f[..., c] into parts of f[..., c / parts], and return zeros f[...] for each."""
        check_count("parts", self.parts)
        x = widen(check_array("x", x))
        if x.shape[-1] % self.parts:
            raise ValueError(f"channels must be a multiple of {self.parts}, got {x.shape[-1]}")
        z = tuple(jnp.split(x, self.parts, axis=-1))
        return z, tuple(per_position(0.0, part) for part in z)

    def inverse_and_log_det(
        self, z: tuple[jax.Array, ...], condition: Any = None
    ) -> tuple[jax.Array, jax.Array]:
        """Join parts of f[..., c] to x f[..., parts * c], and return zeros f[...]."""
        check_count("parts", self.parts)
        if not isinstance(z, list | tuple) or len(z) != self.parts:
            got = f"{len(z)}" if isinstance(z, list | tuple) else type(z).__name__
            raise ValueError(f"z must be a tuple of {self.parts} arrays, got {got}")
        z = tuple(widen(check_array(f"z[{i}]", part)) for i, part in enumerate(z))
        if len({part.shape for part in z}) > 1:
            raise ValueError(f"z must have parts of one shape, got {[part.shape for part in z]}")
        x = jnp.concatenate(z, axis=-1)
        return x, per_position(0.0, x)

    @nn.nowrap
    def carry_forward(self, log_det: jax.Array) -> tuple[jax.Array, ...]:
        """Give an equal share of log_det f[...] to each part."""
        return (log_det / self.parts,) * self.parts

    @nn.nowrap
    def carry_inverse(self, log_det: tuple[jax.Array, ...]) -> jax.Array:
        """Add up the log_det f[...] of the parts."""
        return jnp.stack(log_det).sum(0)


def _blocks(x):
    """Return x f[..., h, w, c] as blocks f[..., h / 2, w / 2, 4, c]."""
    *batch, height, width, channels = x.shape
    if height % 2 or width % 2:
        raise ValueError(f"height and width must be even, got {height} x {width}")
    x = x.reshape(*batch, height // 2, 2, width // 2, 2, channels)
    return x.swapaxes(-4, -3).reshape(*batch, height // 2, width // 2, 4, channels)


def _grid(blocks):
    """Return blocks f[..., h, w, 4, c] as f[..., 2 h, 2 w, c]."""
    *batch, height, width, _, channels = blocks.shape
    x = blocks.reshape(*batch, height, width, 2, 2, channels).swapaxes(-4, -3)
    return x.reshape(*batch, 2 * height, 2 * width, channels)
