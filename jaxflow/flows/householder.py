"""A learned orthogonal matrix of the channels, the same at every position."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxflow.flows.arguments import (
    check_array,
    check_count,
    check_dtype,
    check_precision,
    per_position,
    widen,
)
from jaxflow.flows.bijection import Bijection


class Householder(Bijection):
    """Mix the channels by a product of learned reflections: an orthogonal matrix.

    forward: `z = H_k ... H_1 x` at every position, with `H_i = I - 2 v_i v_i^T / |v_i|^2`;
    log_det: 0; inverse: `x = H_1 ... H_k z`, as each H_i is its own.

    Attributes:
      reflections: k; c of them reach every orthogonal matrix.
      param_dtype: dtype of `vectors` f[k, c]; they are used in at least float32.
      precision: of the products, as `jax.lax` takes it.

    Raises:
      ValueError: if reflections is no positive integer, param_dtype or the dtype of x is not
        floating, or precision is none of JAX's.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> flow, x = Householder(2), jnp.ones((3, 4))
      >>> variables = flow.init(jax.random.key(0), x)
      >>> bool(jnp.allclose(jnp.square(flow.apply(variables, x)).sum(-1), 4.0, atol=1e-4))
      True

    Reference: arXiv 1611.09630, section 3.
    """

    pointwise = True

    reflections: int = 8
    param_dtype: jnp.dtype = jnp.float32
    precision: Any = "highest"

    def forward_and_log_det(
        self, x: jax.Array, condition: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Map x f[..., c] to z f[..., c], and return zeros f[...]; no condition is read."""
        return self._reflect(widen(check_array("x", x)), reverse=False)

    def inverse_and_log_det(
        self, z: jax.Array, condition: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Map z f[..., c] to x f[..., c], and return zeros f[...]."""
        return self._reflect(widen(check_array("z", z)), reverse=True)

    @nn.compact
    def _reflect(self, x: jax.Array, reverse: bool) -> tuple[jax.Array, jax.Array]:
        check_count("reflections", self.reflections)
        check_dtype("param_dtype", self.param_dtype)
        check_precision("precision", self.precision)
        shape = (self.reflections, x.shape[-1])
        vectors = self.param("vectors", nn.initializers.normal(1.0), shape, self.param_dtype)
        x = x.astype(jnp.promote_types(vectors.dtype, x.dtype))
        vectors = vectors.astype(x.dtype)
        vectors = vectors / jnp.linalg.norm(vectors, axis=-1, keepdims=True)

        def reflect(x, v):
            along = jnp.einsum("...c,c->...", x, v, precision=self.precision)
            return x - 2.0 * jnp.einsum("...,c->...c", along, v), None

        x, _ = jax.lax.scan(reflect, x, vectors, reverse=reverse)
        return x, per_position(0.0, x)
