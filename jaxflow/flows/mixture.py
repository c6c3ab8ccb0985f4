"""A mixture of normal distributions as the base of a flow."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.lax.linalg import triangular_solve

from jaxflow.flows.arguments import check_array, check_count, check_precision, per_channel
from jaxflow.flows.base import promote
from jaxflow.flows.likelihood import StandardNormal


@dataclasses.dataclass(frozen=True, eq=False)
class GaussianMixture:
    """A mixture of k normal distributions, whose covariances are diagonal or full.

    log_prob: `log sum_k weight_k N(z; mean_k, L_k L_k^T)`, summed without overflow.

    Attributes:
      log_weights: f[k], nats; they are normalized, so that any numbers are allowed.
      means: f[k, c].
      factors: deviations f[k, c], or the lower Cholesky factors L f[k, c, c] of the covariances,
        of which only the lower triangle is read. No diagonal entry is 0; signs are not read there.
      precision: of the products, as `jax.lax` takes it.

    Raises:
      ValueError: if a shape does not fit the others, a dtype is not floating, precision is none of
        JAX's, or z has other channels.

    Example:
      >>> import jax.numpy as jnp
      >>> means = jnp.asarray([[-2.0, 0.0], [2.0, 0.0]])
      >>> base = GaussianMixture(jnp.zeros(2), means, jnp.ones((2, 2)))
      >>> base.log_prob(jnp.ones((3, 2))).shape
      (3,)

    Reference: arXiv 1912.13025 (a mixture as the base of a flow).
    """

    log_weights: Any
    means: Any
    factors: Any
    precision: Any = "highest"

    def __post_init__(self):
        for name in ("log_weights", "means", "factors"):
            check_array(name, getattr(self, name))
        check_precision("precision", self.precision)
        weights, means, factors = (
            jnp.shape(each) for each in (self.log_weights, self.means, self.factors)
        )
        if len(means) != 2 or weights != means[:1]:
            raise ValueError(
                f"log_weights and means must be f[k] and f[k, c], got shapes {weights} and {means}"
            )
        if factors not in (means, (*means, means[1])):
            expected = f"{means} or {(*means, means[1])}, as means are {means}"
            raise ValueError(f"factors must have shape {expected}, got {factors}")

    def log_prob(self, z: jax.Array) -> jax.Array:
        """Return log p f[...] of z f[..., c], nats."""
        z, log_weights, means, factors = promote(z, self.log_weights, self.means, self.factors)
        difference = z[..., None, :] - per_channel(means, z[..., None])
        if factors.ndim == 2:
            diagonals, standard = factors, difference / per_channel(factors, difference)
        else:
            diagonals = jnp.diagonal(factors, axis1=1, axis2=2)
            unit = jnp.broadcast_to(jnp.eye(z.shape[-1], dtype=z.dtype), factors.shape)
            whiten = triangular_solve(jnp.tril(factors), unit, left_side=True, lower=True)
            standard = jnp.einsum("...kc,kdc->...kd", difference, whiten, precision=self.precision)
        constants = jax.nn.log_softmax(log_weights) - jnp.log(jnp.abs(diagonals)).sum(-1)
        log_probs = StandardNormal().log_prob(standard)
        return jax.nn.logsumexp(log_probs + per_channel(constants, log_probs), axis=-1)

    def sample(self, key: jax.Array, shape: Sequence[int]) -> jax.Array:
        """Draw z f[*shape], where the last of the shape is c."""
        of_component, of_noise = jax.random.split(key)
        z = jax.random.normal(of_noise, shape)
        z, log_weights, means, factors = promote(z, self.log_weights, self.means, self.factors)
        component = jax.random.categorical(of_component, log_weights, shape=z.shape[:-1])
        if factors.ndim == 2:
            return z * factors[component] + means[component]
        every = jnp.einsum("...c,kdc->...kd", z, jnp.tril(factors), precision=self.precision)
        one = jnp.take_along_axis(every, component[..., None, None], axis=-2)[..., 0, :]
        return one + means[component]


class HierarchicalMixture(nn.Module):
    """HGAD's base for one class: a main centre, further ones around it, unit covariances.

    log_prob: `log sum_k weight_k N(z; centre + delta_k, I)`, delta_0 = 0; weights, centre and
    deltas are trained with the flow. Deltas are drawn from the standard normal, the centre starts
    at 5 / sqrt(2 c) in every channel and the weights start equal, as in the public code.

    That code trains the centre by its own Gaussian, and deltas and weights by the mixture; here all
    are trained by the mixture's likelihood. What it has between classes vanishes with one class.

    Attributes:
      components: Gaussians, at least 1.
      param_dtype: dtype of the parameters.

    Raises:
      ValueError: if components is less than 1.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> base, z = HierarchicalMixture(3), jnp.ones((2, 4))
      >>> variables = base.init(jax.random.key(0), z, method="log_prob")
      >>> base.apply(variables, z, method="log_prob").shape
      (2,)

    Reference: arXiv 2403.13349, section 3.3.
    """

    components: int = 10
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def _mixture(self, channels: int) -> GaussianMixture:
        check_count("components", self.components)
        start = nn.initializers.constant(5.0 / math.sqrt(2 * channels))
        centre = self.param("centre", start, (channels,), self.param_dtype)
        shape = (self.components - 1, channels)
        deltas = self.param("deltas", nn.initializers.normal(1.0), shape, self.param_dtype)
        zeros, count = nn.initializers.zeros, (self.components,)
        log_weights = self.param("log_weights", zeros, count, self.param_dtype)
        means = jnp.concatenate([centre[None], centre[None] + deltas])
        return GaussianMixture(log_weights, means, jnp.ones_like(means))

    def log_prob(self, z: jax.Array) -> jax.Array:
        """Return log p f[...] of z f[..., c], nats."""
        return self._mixture(z.shape[-1]).log_prob(z)

    def sample(self, key: jax.Array, shape: Sequence[int]) -> jax.Array:
        """Draw z f[*shape], where the last of the shape is c."""
        return self._mixture(shape[-1]).sample(key, shape)
