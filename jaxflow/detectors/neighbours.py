"""Nearest neighbours among many vectors, and a few vectors that stand for them all."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxflow.errors import needs_extra

# Vectors that are compared at once.
_BLOCK = 4096
# Columns of the table in which the smallest values of a block are found.
_COLUMNS = 64


def nearest(queries: jax.Array, vectors: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """Find the nearest vectors of each query by Euclidean distance.

    Products of matrices choose the neighbours, a block of vectors at a time, so that no more than
    q times 4,096 products are in memory. Their distances are then computed from differences:
    exact at 0, never NaN.

    Args:
      queries: f[q, c].
      vectors: f[n, c]; n at least `count`.
      count: neighbours of each query.

    Returns:
      distances f[q, count], ascending, and indices i32[q, count] into `vectors`.

    Raises:
      ValueError: if there are fewer vectors than `count`.
    """
    n = len(vectors)
    if n < count:
        raise ValueError(f"vectors must be at least {count}, as many as neighbours, got {n}")
    size = min(_BLOCK, n)
    # Far from 0 the products would lose the digits that tell vectors apart.
    centre = queries.mean(0, keepdims=True)

    def visit(i, best):
        # The last block begins early, to be of the same size.
        start = jnp.minimum(i * size, n - size)
        block = lax.dynamic_slice_in_dim(vectors, start, size)
        block -= centre
        # |query - vector|^2 without |query|^2, which changes no order.
        products = jnp.einsum("qc,nc->qn", queries - centre, block, precision="highest")
        values = jnp.square(block).sum(-1)[None] - 2.0 * products
        seen = start + jnp.arange(size) < i * size
        values, places = _smallest(jnp.where(seen[None], jnp.inf, values), count)
        values = jnp.concatenate([best[0], values], 1)
        indices = jnp.concatenate([best[1], start + places], 1)
        negative, chosen = lax.top_k(-values, count)
        return -negative, jnp.take_along_axis(indices, chosen, 1)

    shape = (len(queries), count)
    none = jnp.full(shape, jnp.inf, queries.dtype), jnp.zeros(shape, jnp.int32)
    _, indices = lax.fori_loop(0, -(-n // size), visit, none)
    distances = jnp.linalg.norm(queries[:, None] - vectors[indices], axis=-1)
    order = jnp.argsort(distances, axis=1)
    return jnp.take_along_axis(distances, order, 1), jnp.take_along_axis(indices, order, 1)


def _smallest(values: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """Find the `count` smallest of each row f[q, n], ascending, and their places i32[q, count].

    `top_k` is slow on long rows on a CPU. The values of a row are laid out as a table; the smallest
    ones are in the `count` columns with the smallest minima. Beyond n they are infinite.
    """
    width = max(_COLUMNS, count)
    padding = ((0, 0), (0, -values.shape[1] % width))
    table = jnp.pad(values, padding, constant_values=jnp.inf).reshape(len(values), -1, width)
    _, columns = lax.top_k(-table.min(1), count)
    inside = jnp.take_along_axis(table, columns[:, None], 2).reshape(len(values), -1)
    negative, chosen = lax.top_k(-inside, count)
    column = jnp.take_along_axis(columns, chosen % count, 1)
    return -negative, chosen // count * width + column


def choose_coreset(
    vectors: np.ndarray, count: int, projection: int | None, seed: int
) -> np.ndarray:
    """Choose vectors by `k_centres`, the first one at random.

    Args:
      vectors: f32[n, c].
      count: how many to choose, from 1 to n.
      projection: channels of the random projection in which distances are taken; None, or not
        below c: no projection.
      seed: of the first choice and of the projection.

    Returns:
      i32[count], distinct indices in the order of choice.
    """
    first = int(np.random.default_rng(seed).integers(len(vectors)))
    if projection is not None and projection < vectors.shape[-1]:
        with needs_extra("detectors"):
            from sklearn.random_projection import GaussianRandomProjection
        vectors = GaussianRandomProjection(projection, random_state=seed).fit_transform(vectors)
    return np.asarray(k_centres(vectors, first, count))


@functools.partial(jax.jit, static_argnames="count")
def k_centres(vectors: jax.Array, first: jax.Array | int, count: int) -> jax.Array:
    """Choose vectors greedily: each next one is the farthest from those that are chosen.

    Args:
      vectors: f[n, c].
      first: index of the first choice.
      count: how many to choose, from 1 to n.

    Returns:
      i32[count], distinct indices in the order of choice.

    Reference: arXiv 2106.08265, Algorithm 1.
    """

    def choose(i, state):
        chosen, distances = state
        last = chosen[i - 1]
        squares = jnp.square(vectors - vectors[last][None]).sum(-1)
        # Below all others: never chosen again.
        distances = jnp.minimum(distances, squares).at[last].set(-1.0)
        return chosen.at[i].set(jnp.argmax(distances).astype(jnp.int32)), distances

    chosen = jnp.zeros(count, jnp.int32).at[0].set(first)
    distances = jnp.full(len(vectors), jnp.inf, vectors.dtype)
    return lax.fori_loop(1, count, choose, (chosen, distances))[0]
