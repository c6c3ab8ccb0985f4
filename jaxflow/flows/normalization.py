"""What is done to a feature map before its flow: named choices."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxflow.flows.arguments import (
    check_array,
    check_channels,
    check_constants,
    check_map,
    per_channel,
    per_position,
    widen,
)
from jaxflow.flows.bijection import Bijection, Identity
from jaxflow.flows.whiten import Whiten

_EPSILON = 1e-5


class LayerNorm(Bijection):
    """Normalize each image's map over h, w and c.

    forward: `(x - mean) / sqrt(var + 1e-5)`; log_det: 0, for none is counted; inverse: there is
    none, as two numbers an image are lost. The likelihood is that of the normalized map.

    Attributes:
      affine: whether a trained scale and offset f[h, w, c] follow, as in the public PyTorch
        reimplementations; this fixes the input size, and its log_det is left out as it is there.

    Raises:
      ValueError: if x is not f[..., h, w, c]; whenever the inverse is asked for.

    Reference: arXiv 1607.06450.
    """

    bijective = False

    affine: bool = False

    @nn.compact
    def forward_and_log_det(
        self, x: jax.Array, condition: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Return the normalized x f[..., h, w, c] and zeros f[..., h, w]; no condition is read."""
        x = widen(check_map("x", x))
        x = x - x.mean((-3, -2, -1), keepdims=True)
        x = x * jax.lax.rsqrt(jnp.square(x).mean((-3, -2, -1), keepdims=True) + _EPSILON)
        if self.affine:
            shape = x.shape[-3:]
            x = x * per_channel(self.param("scale", nn.initializers.ones, shape), x)
            x = x + per_channel(self.param("offset", nn.initializers.zeros, shape), x)
        return x, per_position(0.0, x)

    def inverse_and_log_det(
        self, z: jax.Array, condition: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Raise ValueError."""
        raise ValueError(
            "LayerNorm has no inverse: the mean and the deviation of its input are lost; "
            "Identity and Standardize have one"
        )


class AveragePool(Bijection):
    """Average windows of 3 x 3 positions, every second one in both directions, zeros around.

    forward: f[..., h, w, c] to f[..., ceil(h / 2), ceil(w / 2), c]; log_det: 0, for none is
      counted;
    inverse: there is none. The likelihood is that of the pooled map.

    It carries a log_det over as the sum of every 2 x 2 positions.

    Raises:
      ValueError: if x is not f[..., h, w, c]; whenever the inverse is asked for.

    Source: MSFlow's public code (arXiv 2308.15300).
    """

    bijective = False

    def forward_and_log_det(
        self, x: jax.Array, condition: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Return the pooled x and zeros of its positions; no condition is read."""
        z = nn.avg_pool(widen(check_map("x", x)), (3, 3), (2, 2), ((1, 1), (1, 1)))
        return z, per_position(0.0, z)

    def inverse_and_log_det(
        self, z: jax.Array, condition: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Raise ValueError."""
        raise ValueError(
            "AveragePool has no inverse: three quarters of the positions of its input are lost; "
            "Identity and Standardize have one"
        )

    @nn.nowrap
    def carry_forward(self, log_det: jax.Array) -> jax.Array:
        """Add up the log_det f[..., h, w] of every block: f[..., ceil(h / 2), ceil(w / 2)]."""
        *batch, height, width = log_det.shape
        rest = [(0, 0)] * len(batch) + [(0, height % 2), (0, width % 2)]
        blocks = jnp.pad(log_det, rest).reshape(*batch, -(-height // 2), 2, -(-width // 2), 2)
        return blocks.sum((-3, -1))

    @nn.nowrap
    def carry_inverse(self, log_det: jax.Array) -> jax.Array:
        """Spread log_det f[..., h, w] evenly over every block: f[..., 2 h, 2 w]."""
        return jnp.repeat(jnp.repeat(log_det / 4, 2, axis=-2), 2, axis=-1)


class Standardize(Bijection):
    """Standardize each channel with the mean and deviation of the training set.

    forward: `z = (x - mean) / std`; log_det: `-sum_c log std` at every position;
    inverse: `x = z * std + mean`. The likelihood of the encoder's own features stays exact.

    mean f[c] and std f[c] live in the collection `constants`, 0 and 1 at init.

    Raises:
      ValueError: if x is not a floating array, has other channels than the statistics, or the
        variables lack `constants`.

    Reference: arXiv 1912.02762, section 2.1 (change of variables).
    """

    pointwise = True
    statistics = "moments"

    @nn.compact
    def _statistics(self, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Return mean and std, broadcast to x, and sum_c log std f[]."""
        check_constants(self, "mean")
        channels = x.shape[-1]
        mean = self.variable("constants", "mean", jnp.zeros, (channels,)).value
        std = self.variable("constants", "std", jnp.ones, (channels,)).value
        check_channels(channels, mean.shape[0])
        return per_channel(mean, x), per_channel(std, x), jnp.log(std).sum()

    def forward_and_log_det(
        self, x: jax.Array, condition: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Return the standardized x f[..., c] and log_det f[...], nats; no condition is read."""
        x = widen(check_array("x", x))
        mean, std, log_std = self._statistics(x)
        z = (x - mean) / std
        return z, per_position(-log_std, z)

    def inverse_and_log_det(
        self, z: jax.Array, condition: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Return x f[..., c] of the standardized z, and the inverse's log_det f[...], nats."""
        z = widen(check_array("z", z))
        mean, std, log_std = self._statistics(z)
        x = z * std + mean
        return x, per_position(log_std, x)


NORMALIZATIONS: dict[str, Callable[..., Bijection]] = {
    "none": Identity,
    "layer_norm": LayerNorm,
    "layer_norm_affine": lambda **options: LayerNorm(affine=True, **options),
    "standardize": Standardize,
    "whiten": functools.partial(Whiten, exponent=0.9),
    "average_pool": AveragePool,
}
