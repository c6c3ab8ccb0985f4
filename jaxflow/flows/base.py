"""Distributions of latents other than the standard normal: fixed, or trained with their flow."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxflow.flows.arguments import (
    check_array,
    check_moments,
    check_positive,
    per_channel,
    widen,
)
from jaxflow.flows.likelihood import StandardNormal


def promote(z: jax.Array, *arrays: jax.Array) -> list[jax.Array]:
    """Return z f[..., c] and a base's arrays, the last f[..., c], in one dtype of 32 bits or more.

    Raises:
      ValueError: if z is no floating array, or has other channels.
    """
    z = check_array("z", z)
    channels = arrays[-1].shape[-1]
    if z.shape[-1] != channels:
        raise ValueError(f"z must have {channels} channels, as the base has, got {z.shape[-1]}")
    dtype = jnp.result_type(z, jnp.float32, *arrays)
    return [jnp.asarray(each, dtype) for each in (z, *arrays)]


@dataclasses.dataclass(frozen=True, eq=False)
class DiagonalGaussian:
    """A normal distribution of every channel, independent of all others.

    log_prob: `sum_c log N(z_c; mean_c, std_c^2)`.

    Attributes:
      mean: f[c].
      std: f[c], not 0; its sign is not read.

    Raises:
      ValueError: if one is not a floating f[c], they differ in shape, or z has other channels.

    Example:
      >>> import jax.numpy as jnp
      >>> base = DiagonalGaussian(jnp.zeros(4), jnp.full(4, 2.0))
      >>> base.log_prob(jnp.ones((3, 4))).shape
      (3,)
    """

    mean: Any
    std: Any

    def __post_init__(self):
        check_moments(self.mean, self.std)

    def log_prob(self, z: jax.Array) -> jax.Array:
        """Return log p f[...] of z f[..., c], nats."""
        z, mean, std = promote(z, self.mean, self.std)
        standard = (z - per_channel(mean, z)) / per_channel(std, z)
        return StandardNormal().log_prob(standard) - jnp.log(jnp.abs(std)).sum()

    def sample(self, key: jax.Array, shape: Sequence[int]) -> jax.Array:
        """Draw z f[*shape], where the last of the shape is c."""
        z, mean, std = promote(jax.random.normal(key, shape), self.mean, self.std)
        return z * per_channel(std, z) + per_channel(mean, z)


@dataclasses.dataclass(frozen=True)
class StudentT:
    """Student's t distribution of every channel, independent of all others: heavy tails.

    log_prob: `sum_c log t(z_c; df)`, of location 0 and scale 1.

    Attributes:
      df: degrees of freedom, positive; the fewer, the heavier the tails.

    Raises:
      ValueError: if df is not positive.

    Example:
      >>> import jax.numpy as jnp
      >>> StudentT(4.0).log_prob(jnp.ones((3, 2))).shape
      (3,)

    Reference: arXiv 1907.04481.
    """

    df: float = 4.0

    def __post_init__(self):
        check_positive("df", self.df)

    def log_prob(self, z: jax.Array) -> jax.Array:
        """Return log p f[...] of z f[..., c], nats."""
        z = widen(check_array("z", z))
        half = 0.5 * (self.df + 1.0)
        constant = math.lgamma(half) - math.lgamma(0.5 * self.df)
        constant -= 0.5 * math.log(self.df * math.pi)
        return (constant - half * jnp.log1p(jnp.square(z) / self.df)).sum(-1)

    def sample(self, key: jax.Array, shape: Sequence[int]) -> jax.Array:
        """Draw z f[*shape], of JAX's default floating dtype."""
        return jax.random.t(key, self.df, shape)


class TrainedBase(nn.Module):
    """Train the arrays of a base with its flow.

    Every array that the base holds becomes a parameter of the same name, which starts there.

    Attributes:
      start: a `DiagonalGaussian`, a `GaussianMixture`, or any frozen dataclass that answers `Base`
        and whose arrays may take any value.

    Raises:
      ValueError: if it holds no array.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxflow.flows import FastFlow2D
      >>> start = DiagonalGaussian(jnp.zeros(4), jnp.ones(4))
      >>> flow, x = FastFlow2D(steps=1, base=TrainedBase(start)), jnp.ones((1, 2, 2, 4))
      >>> variables = jax.eval_shape(lambda: flow.init(jax.random.key(0), x, method="log_prob"))
      >>> sorted(variables["params"]["base"])
      ['mean', 'std']
    """

    start: Any

    def setup(self):
        """Make a parameter of every array."""
        if not dataclasses.is_dataclass(self.start) or isinstance(self.start, type):
            raise ValueError(f"start must be a dataclass with arrays, got {self.start!r}")
        arrays = {
            field.name: value
            for field in dataclasses.fields(self.start)
            if hasattr(value := getattr(self.start, field.name), "shape")
        }
        if not arrays:
            raise ValueError(f"start must hold arrays to train, got {self.start!r}")
        trained = {
            name: self.param(name, lambda _, value=value: jnp.asarray(value))
            for name, value in arrays.items()
        }
        self.base: Any = dataclasses.replace(self.start, **trained)

    def log_prob(self, z: jax.Array) -> jax.Array:
        """Return log p f[...] of z f[..., c], nats."""
        return self.base.log_prob(z)

    def sample(self, key: jax.Array, shape: Sequence[int]) -> jax.Array:
        """Draw z f[*shape], where the last of the shape is c."""
        return self.base.sample(key, shape)
