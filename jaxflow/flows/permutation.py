"""Fixed channel permutations, kept out of the trained parameters; two are drawn once at init."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxflow.flows.arguments import (
    check_array,
    check_channels,
    check_constants,
    check_dtype,
    check_precision,
    per_position,
    widen,
)
from jaxflow.flows.bijection import Bijection


def permute_channels(x: jax.Array, index: jax.Array, inverse_index: jax.Array) -> jax.Array:
    """Gather the last axis: `y[..., i] = x[..., index[i]]`.

    Every vector has its own copy of the index: XLA would otherwise write the channels first
    and let all that follows read across, which costs a CPU a seventh of a training step. The
    gradient is the gather by `inverse_index`, as JAX would transpose a gather into a scatter-add,
    which costs five times as much: y is the solution of `gather(y, inverse_index) = x`, and JAX
    lets a linear equation name the solution of its transpose. Forward mode works too.

    Args:
      x: f[..., c].
      index: i32[c], a permutation of 0 .. c - 1.
      inverse_index: i32[c], its inverse.

    Returns:
      f[..., c].
    """
    return jax.lax.custom_linear_solve(
        lambda y: _gather(y, inverse_index),
        x,
        solve=lambda _, x: _gather(x, index),
        transpose_solve=lambda _, gradient: _gather(gradient, inverse_index),
    )


def _gather(x, index):
    vectors = x.reshape(-1, x.shape[-1])
    index = jnp.broadcast_to(index, vectors.shape)
    return jnp.take_along_axis(vectors, index, axis=-1, mode="clip").reshape(x.shape)


class HardPermutation(Bijection):
    """Reorder the channels by a random permutation.

    forward: `z[..., i] = x[..., index[i]]`; log_det: 0; inverse: `x[..., index[i]] = z[..., i]`.

    The index i32[c] is drawn at init and lives in the collection `constants` as `index`.

    Raises:
      ValueError: if x is not a floating array, has other channels than the index, or the variables
        lack `constants`.
    """

    pointwise = True

    @nn.compact
    def _index(self, channels: int) -> jax.Array:
        check_constants(self, "index")
        index = self.variable(
            "constants",
            "index",
            lambda: jax.random.permutation(self.make_rng("params"), channels).astype(jnp.int32),
        ).value
        check_channels(channels, index.shape[0])
        return index

    def forward_and_log_det(
        self, x: jax.Array, condition: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Map x f[..., c] to z f[..., c], and return zeros f[...]; no condition is read."""
        x = widen(check_array("x", x))
        index = self._index(x.shape[-1])
        return permute_channels(x, index, jnp.argsort(index)), per_position(0.0, x)

    def inverse_and_log_det(
        self, z: jax.Array, condition: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Map z f[..., c] back to x f[..., c], and return zeros f[...]."""
        z = widen(check_array("z", z))
        index = self._index(z.shape[-1])
        return permute_channels(z, jnp.argsort(index), index), per_position(0.0, z)


class SwapHalves(Bijection):
    """Put the first c - c // 2 channels, which condition a coupling, behind the others.

    forward: `z = concat(b, a)` of `x = concat(a, b)`; log_det: 0; inverse: back.

    Raises:
      ValueError: if x is not a floating array.
    """

    pointwise = True

    def forward_and_log_det(
        self, x: jax.Array, condition: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Map x f[..., c] to z f[..., c], and return zeros f[...]; no condition is read."""
        x = widen(check_array("x", x))
        return jnp.roll(x, x.shape[-1] // 2, axis=-1), per_position(0.0, x)

    def inverse_and_log_det(
        self, z: jax.Array, condition: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Map z f[..., c] back to x f[..., c], and return zeros f[...]."""
        z = widen(check_array("z", z))
        return jnp.roll(z, -(z.shape[-1] // 2), axis=-1), per_position(0.0, z)


class SoftPermutation(Bijection):
    """Rotate the channels by a fixed random rotation, Haar-distributed on SO(c).

    forward: `z = rotation @ x` at every position; log_det: 0; inverse: `x = rotation^T @ z`.

    The matrix f[c, c] is drawn at init and lives in the collection `constants` as `rotation`. A
    matrix of 16 bits is no longer a rotation: the nearest one, in float32, is used in its place.

    Attributes:
      param_dtype: dtype of the stored matrix; float64 for an inverse exact beyond float32.
      precision: of the product, as `jax.lax` takes it. Less than "highest" is faster on a GPU and
        a TPU, and makes the inverse inexact there.

    Raises:
      ValueError: if param_dtype is not floating, precision is none of JAX's, x is not a floating
        array, has other channels than the matrix, or the variables lack `constants`.
    """

    pointwise = True

    param_dtype: jnp.dtype = jnp.float32
    precision: Any = "highest"

    @nn.compact
    def _rotation(self, channels: int) -> jax.Array:
        check_dtype("param_dtype", self.param_dtype)
        check_precision("precision", self.precision)
        check_constants(self, "rotation")
        rotation = self.variable(
            "constants",
            "rotation",
            lambda: draw_rotation(self.make_rng("params"), channels, self.param_dtype),
        ).value
        check_channels(channels, rotation.shape[0])
        return rotation if rotation.dtype.itemsize >= 4 else _nearest_rotation(rotation)

    def forward_and_log_det(
        self, x: jax.Array, condition: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Map x f[..., c] to z f[..., c], and return zeros f[...]; no condition is read."""
        x = widen(check_array("x", x))
        rotation = self._rotation(x.shape[-1])
        z = jnp.einsum("...c,dc->...d", x, rotation, precision=self.precision)
        return z, per_position(0.0, z)

    def inverse_and_log_det(
        self, z: jax.Array, condition: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Map z f[..., c] back to x f[..., c], and return zeros f[...]."""
        z = widen(check_array("z", z))
        rotation = self._rotation(z.shape[-1])
        x = jnp.einsum("...d,dc->...c", z, rotation, precision=self.precision)
        return x, per_position(0.0, x)


def draw_rotation(key: jax.Array, channels: int, dtype: jnp.dtype) -> jax.Array:
    """Draw a rotation f[channels, channels], Haar-distributed on SO(channels)."""
    # There is no QR decomposition in 16 bits.
    wide = jnp.promote_types(dtype, jnp.float32)
    q, r = jnp.linalg.qr(jax.random.normal(key, (channels, channels), wide))
    q = q * jnp.sign(jnp.diagonal(r))[None]
    # slogdet, for the determinant's own product of pivots can overflow at 2,048 channels.
    return q.at[:, 0].multiply(jnp.linalg.slogdet(q)[0]).astype(dtype)


def _nearest_rotation(matrix):
    """Return the f32[c, c] rotation that a matrix rounded to 16 bits was: two steps of Newton's.

    Each step squares the distance from a rotation, which rounding leaves below 1/100. In less than
    the highest precision it would not be a rotation.
    """
    matmul = functools.partial(jnp.matmul, precision="highest")
    q = matrix.astype(jnp.float32)
    for _ in range(2):
        q = 1.5 * q - 0.5 * matmul(q, matmul(q.T, q))
    return q
