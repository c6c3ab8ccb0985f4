"""Fixed channel permutations, drawn once at init and kept out of the trained parameters."""

import jax
import jax.numpy as jnp
from flax import linen as nn


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
        return self.variable(
            "constants",
            "index",
            lambda: jax.random.permutation(self.make_rng("params"), channels).astype(jnp.int32),
        ).value

    def forward(self, x: jax.Array) -> jax.Array:
        """Map x f[..., c] to z f[..., c]."""
        index = self._index(x.shape[-1])
        return permute_channels(x, index, jnp.argsort(index))

    def inverse(self, z: jax.Array) -> jax.Array:
        """Map z f[..., c] back to x f[..., c]."""
        index = self._index(z.shape[-1])
        return permute_channels(z, jnp.argsort(index), index)


class SoftPermutation(nn.Module):
    """Rotate the channels by a fixed random rotation, Haar-distributed on SO(c); `log_det` is 0.

    The matrix lives in the collection `constants` as `rotation` f[c, c]; forward is
    `z = rotation @ x` at every position, inverse its transpose.

    Attributes:
      param_dtype: dtype of the stored matrix; float64 for an inverse exact beyond float32.
    """

    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def _rotation(self, channels: int) -> jax.Array:
        return self.variable("constants", "rotation", self._draw, channels).value

    def _draw(self, channels: int) -> jax.Array:
        gaussian = jax.random.normal(
            self.make_rng("params"), (channels, channels), self.param_dtype
        )
        q, r = jnp.linalg.qr(gaussian)
        q = q * jnp.sign(jnp.diagonal(r))
        # slogdet, for the determinant's own product of pivots can overflow at 2,048 channels.
        return q.at[:, 0].multiply(jnp.linalg.slogdet(q)[0])

    def forward(self, x: jax.Array) -> jax.Array:
        """Map x f[..., c] to z f[..., c]."""
        return jnp.einsum("...c,dc->...d", x, self._rotation(x.shape[-1]), precision="highest")

    def inverse(self, z: jax.Array) -> jax.Array:
        """Map z f[..., c] back to x f[..., c]."""
        return jnp.einsum("...d,dc->...c", z, self._rotation(z.shape[-1]), precision="highest")


PERMUTATIONS = {"hard": HardPermutation, "soft": SoftPermutation}
