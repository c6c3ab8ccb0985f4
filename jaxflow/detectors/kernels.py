"""Sums of Gaussian kernels around many vectors."""

import jax
import jax.numpy as jnp
from jax import lax

# Vectors whose kernels are added at once.
_BLOCK = 4096


def log_kernel_sum(
    queries: jax.Array, vectors: jax.Array, log_weights: jax.Array, precision: jax.Array
) -> jax.Array:
    """Return `log sum_i exp(log_weights_i - precision |q - v_i|^2 / 2)` of each query.

    A block of vectors at a time, so that no more than q times 4,096 products are in memory.

    Args:
      queries: q f[q, c].
      vectors: v f[n, c], n at least 1.
      log_weights: f[n].
      precision: f[], one over the kernel's variance.

    Returns:
      f[q].

    Raises:
      ValueError: if there are no vectors.
    """
    if not len(vectors):
        raise ValueError("vectors must be at least 1, got 0")
    size = min(_BLOCK, len(vectors))
    blocks = -(-len(vectors) // size)
    filling = blocks * size - len(vectors)
    # Far from 0 the products would lose the digits that tell vectors apart.
    centre = queries.mean(0, keepdims=True)
    queries = queries - centre
    norms = jnp.square(queries).sum(-1, keepdims=True)

    def add(total, block):
        around, weights = block
        around = around - centre
        products = jnp.einsum("qc,nc->qn", queries, around, precision="highest")
        squares = jnp.maximum(norms + jnp.square(around).sum(-1)[None] - 2.0 * products, 0.0)
        terms = weights[None] - 0.5 * precision * squares
        return jnp.logaddexp(total, jax.nn.logsumexp(terms, axis=-1)), None

    padded = jnp.pad(vectors, ((0, filling), (0, 0))).reshape(blocks, size, -1)
    weights = jnp.pad(log_weights, (0, filling), constant_values=-jnp.inf).reshape(blocks, size)
    none = jnp.full(len(queries), -jnp.inf, queries.dtype)
    total, _ = lax.scan(add, none, (padded, weights))
    return total
