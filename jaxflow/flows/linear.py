"""A learned invertible matrix of the channels, the same at every position."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.lax.linalg import lu, triangular_solve

from jaxflow.flows.arguments import (
    check_array,
    check_channels,
    check_choice,
    check_constants,
    check_dtype,
    check_positive,
    check_precision,
    per_position,
    widen,
)
from jaxflow.flows.bijection import Bijection
from jaxflow.flows.permutation import HardPermutation, SoftPermutation, draw_rotation

STARTS = ("rotation", "permutation", "identity")


class InvertibleLinear(Bijection):
    """Mix the channels by a learned matrix, kept as its LU factors: an invertible 1x1 convolution.

    forward: `z = P L U x` at every position, with P a fixed permutation, L lower triangular with a
      unit diagonal, U upper triangular with the diagonal `exp(log_diagonal)`;
    log_det: `sum_c log_diagonal` at every position;
    inverse: `x = U^-1 L^-1 P^T z`, by two triangular solves.

    One matrix `lu` f[c, c] holds all that is trained: L below the diagonal, log_diagonal on it, U
    above it. P lives in the collection `constants` as `index` i32[c], `(P y)[i] = y[index[i]]`.

    Attributes:
      start: "rotation", a random orthogonal matrix, of which P, L and U are the factors;
        "permutation", a random one; or "identity", where P stays the identity.
      param_dtype: dtype of `lu`; it is used in at least float32.
      precision: of the products, as `jax.lax` takes it.

    Raises:
      ValueError: if start is unknown, param_dtype or the dtype of x is not floating, precision is
        none of JAX's, x has other channels than `lu`, or the variables lack `constants`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> flow, x = InvertibleLinear(), jnp.ones((3, 6))
      >>> variables = flow.init(jax.random.key(0), x)
      >>> variables["params"]["lu"].shape, variables["constants"]["index"].shape
      ((6, 6), (6,))

    Reference: arXiv 1807.03039, section 3.2, Eq. 10; arXiv 2510.09452.
    """

    pointwise = True

    start: str = "rotation"
    param_dtype: jnp.dtype = jnp.float32
    precision: Any = "highest"

    def forward_and_log_det(
        self, x: jax.Array, condition: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Map x f[..., c] to z f[..., c] and log_det f[...], nats; no condition is read."""
        x = widen(check_array("x", x))
        lower, upper, log_diagonal, index = self._factors(x)
        matrix = jnp.matmul(lower, upper, precision=self.precision)[index]
        z = jnp.einsum("...c,dc->...d", x, matrix, precision=self.precision)
        return z, per_position(log_diagonal.sum(), z)

    def inverse_and_log_det(
        self, z: jax.Array, condition: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Map z f[..., c] to x f[..., c] and the inverse's log_det f[...], nats."""
        z = widen(check_array("z", z))
        lower, upper, log_diagonal, index = self._factors(z)
        # The inverse matrix once, and not a solve for every position.
        matrix = jnp.eye(len(index), dtype=lower.dtype)[:, index]
        matrix = triangular_solve(lower, matrix, left_side=True, lower=True, unit_diagonal=True)
        matrix = triangular_solve(upper, matrix, left_side=True)
        x = jnp.einsum("...d,cd->...c", z, matrix, precision=self.precision)
        return x, per_position(-log_diagonal.sum(), x)

    @nn.compact
    def _factors(self, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        """Return L and U f[c, c], log_diagonal f[c] and the index i32[c] of P."""
        check_choice("start", self.start, STARTS)
        check_dtype("param_dtype", self.param_dtype)
        check_precision("precision", self.precision)
        check_constants(self, "index")
        # Both are drawn from one key, as they are factors of one matrix.
        key = self.make_rng("params") if self.has_rng("params") else jax.random.key(0)
        draw = functools.partial(_draw_factors, key, x.shape[-1], self.start)
        index = self.variable("constants", "index", lambda: draw()[1]).value
        check_channels(x.shape[-1], index.shape[0])
        packed = self.param("lu", lambda _: draw()[0].astype(self.param_dtype))
        packed = packed.astype(jnp.promote_types(packed.dtype, x.dtype))
        log_diagonal = jnp.diagonal(packed)
        lower = jnp.tril(packed, -1) + jnp.eye(len(index), dtype=packed.dtype)
        upper = jnp.triu(packed, 1) + jnp.diag(jnp.exp(log_diagonal))
        return lower, upper, log_diagonal, index


def _draw_factors(key, channels, start):
    """Return `lu` f32[c, c] and the index i32[c] of P."""
    if start == "identity":
        return jnp.zeros((channels, channels)), jnp.arange(channels, dtype=jnp.int32)
    if start == "permutation":
        index = jax.random.permutation(key, channels).astype(jnp.int32)
        return jnp.zeros((channels, channels)), index
    packed, _, rows = lu(draw_rotation(key, channels, jnp.float32))
    # The sign of each column of the rotation is chosen so that the diagonal of U is positive.
    diagonal = jnp.diagonal(packed)
    upper = jnp.triu(packed, 1) * jnp.sign(diagonal)[None]
    log_diagonal = jnp.log(jnp.abs(diagonal))
    packed = jnp.tril(packed, -1) + upper + jnp.diag(log_diagonal)
    return packed, jnp.argsort(rows).astype(jnp.int32)


# Name -> maker of what mixes the channels; an index has neither a dtype to choose nor a product.
PERMUTATIONS: dict[str, Callable[..., Bijection]] = {
    "hard": lambda *, param_dtype, precision, **options: HardPermutation(**options),
    "soft": SoftPermutation,
    "linear": InvertibleLinear,
}


def log_diagonal_prior(params: Any, mean: float = 0.0, std: float | None = None) -> jax.Array:
    """Return the log-density of a log-normal prior on the diagonals of U of a flow.

    Of every `InvertibleLinear` in the tree, with d its `log_diagonal`:
    `log p = sum_c log N(d; mean, std^2) - d`, the density of `exp(d)`. A loss subtracts it.

    Args:
      params: the trained variables of any flow.
      mean: of d.
      std: deviation of d, positive; None: c^-0.5, which makes that of log_det 1.

    Returns:
      f[], nats, in at least float32; 0 where the flow has no InvertibleLinear.

    Raises:
      ValueError: if std is not positive.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> variables = InvertibleLinear("identity").init(jax.random.key(0), jnp.ones((1, 4)))
      >>> print(f"{log_diagonal_prior(variables['params'], std=1.0):.4f}")
      -3.6758

    Reference: arXiv 2510.09452 (the prior of its authors' library).
    """
    if std is not None:
        check_positive("std", std)
    total = jnp.zeros(())
    for leaf in _packed(params):
        log_diagonal = widen(jnp.diagonal(leaf, axis1=-2, axis2=-1))
        deviation = std or leaf.shape[-1] ** -0.5
        log_prob = -0.5 * jnp.square((log_diagonal - mean) / deviation) - log_diagonal
        total += (log_prob - math.log(deviation) - 0.5 * math.log(2.0 * math.pi)).sum()
    return total


def has_diagonal(params: Any) -> bool:
    """Tell whether there is an `InvertibleLinear` in the trained variables of a flow."""
    return bool(_packed(params))


def _packed(params):
    """Return the `lu` f[..., c, c] of every InvertibleLinear in a tree."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return [leaf for path, leaf in leaves if getattr(path[-1], "key", None) == "lu"]
