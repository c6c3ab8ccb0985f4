"""Fixed channel permutations, drawn once at init and kept out of the trained parameters."""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxflow.flows.arguments import check_array, check_channels, check_dtype


def permute_channels(x: jax.Array, index: jax.Array, inverse_index: jax.Array) -> jax.Array:
    """Gather the last axis: `y[..., i] = x[..., index[i]]`.

    Every vector is gathered by an index of its own: XLA would otherwise write the channels first
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


class HardPermutation(nn.Module):
    """Reorder the channels by a random permutation; `log_det` is 0.

    The index lives in the collection `constants` as `index` i32[c].
    """

    @nn.compact
    def _index(self, channels: int) -> jax.Array:
        _check_constants(self, "index")
        index = self.variable(
            "constants",
            "index",
            lambda: jax.random.permutation(self.make_rng("params"), channels).astype(jnp.int32),
        ).value
        check_channels(channels, index.shape[0])
        return index

    def forward(self, x: jax.Array) -> jax.Array:
        """Map x f[..., c] to z f[..., c]."""
        x = check_array("x", x)
        index = self._index(x.shape[-1])
        return permute_channels(x, index, jnp.argsort(index))

    def inverse(self, z: jax.Array) -> jax.Array:
        """Map z f[..., c] back to x f[..., c]."""
        z = check_array("z", z)
        index = self._index(z.shape[-1])
        return permute_channels(z, jnp.argsort(index), index)


class SoftPermutation(nn.Module):
    """Rotate the channels by a fixed random rotation, Haar-distributed on SO(c); `log_det` is 0.

    The matrix lives in the collection `constants` as `rotation` f[c, c]; forward is
    `z = rotation @ x` at every position, inverse its transpose. A matrix of 16 bits is no longer a
    rotation: the nearest one, in float32, is used in its place.

    Attributes:
      param_dtype: dtype of the stored matrix; float64 for an inverse exact beyond float32.
    """

    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def _rotation(self, channels: int) -> jax.Array:
        check_dtype("param_dtype", self.param_dtype)
        _check_constants(self, "rotation")
        rotation = self.variable(
            "constants",
            "rotation",
            lambda: _draw_rotation(self.make_rng("params"), channels, self.param_dtype),
        ).value
        check_channels(channels, rotation.shape[0])
        return rotation if rotation.dtype.itemsize >= 4 else _nearest_rotation(rotation)

    def forward(self, x: jax.Array) -> jax.Array:
        """Map x f[..., c] to z f[..., c]."""
        x = check_array("x", x)
        return jnp.einsum("...c,dc->...d", x, self._rotation(x.shape[-1]), precision="highest")

    def inverse(self, z: jax.Array) -> jax.Array:
        """Map z f[..., c] back to x f[..., c]."""
        z = check_array("z", z)
        return jnp.einsum("...d,dc->...c", z, self._rotation(z.shape[-1]), precision="highest")


def _draw_rotation(key, channels, dtype):
    # There is no QR decomposition in 16 bits.
    wide = jnp.promote_types(dtype, jnp.float32)
    q, r = jnp.linalg.qr(jax.random.normal(key, (channels, channels), wide))
    q = q * jnp.sign(jnp.diagonal(r))[None]
    # slogdet, for the determinant's own product of pivots can overflow at 2,048 channels.
    return q.at[:, 0].multiply(jnp.linalg.slogdet(q)[0]).astype(dtype)


def _nearest_rotation(matrix):
    """Return the f32[c, c] rotation that a matrix rounded to 16 bits was: two steps of Newton's.

    Each step squares the distance from a rotation, which rounding leaves below 1/100.
    """
    matmul = functools.partial(jnp.matmul, precision="highest")
    q = matrix.astype(jnp.float32)
    for _ in range(2):
        q = 1.5 * q - 0.5 * matmul(q, matmul(q.T, q))
    return q


def _check_constants(module, name):
    """Raise ValueError if the fixed draw is neither among the variables nor to be made."""
    if not module.has_variable("constants", name) and not module.is_mutable_collection("constants"):
        raise ValueError(
            "variables must hold the collection constants, as init returned it beside params, "
            f"got none with {name}"
        )


PERMUTATIONS = {"hard": HardPermutation, "soft": SoftPermutation}
