"""A feature map brought near the standard normal by what is known of normal maps: no parameters."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxflow.flows.arguments import (
    check_array,
    check_constants,
    check_map,
    check_share,
    widen,
)
from jaxflow.flows.bijection import Bijection

# The norm of a vector of zeros counts as this.
_LEAST_NORM = 1e-12


class Radial(Bijection):
    """Shorten long vectors and lengthen short ones; the direction stays.

    forward: `z = x / |x|^a`; log_det: `log(1 - a) - a c log |x|`;
    inverse: `x = z |z|^(a / (1 - a))`.

    Near a = 1 it does what dividing by the length does, and keeps an exact likelihood.

    Attributes:
      exponent: a, at least 0, where nothing is changed, and below 1.

    Raises:
      ValueError: if the exponent is out of its range, or x is no floating array.
    """

    pointwise = True

    exponent: float = 0.9

    def forward_and_log_det(
        self, x: jax.Array, condition: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Map x f[..., c] to z f[..., c] and log_det f[...], nats; no condition is read."""
        check_share("exponent", self.exponent)
        x = widen(check_array("x", x))
        log_norm = _log_norm(x)
        z = x * jnp.exp(-self.exponent * log_norm)[..., None]
        return z, jnp.log1p(-self.exponent) - self.exponent * x.shape[-1] * log_norm

    def inverse_and_log_det(
        self, z: jax.Array, condition: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Map z f[..., c] to x f[..., c] and the inverse's log_det f[...], nats."""
        check_share("exponent", self.exponent)
        z = widen(check_array("z", z))
        log_gain = _log_norm(z) * (self.exponent / (1.0 - self.exponent))
        x = z * jnp.exp(log_gain)[..., None]
        return x, z.shape[-1] * log_gain - jnp.log1p(-self.exponent)


class Whiten(Bijection):
    """Whiten the vector at each position by the mean and covariance of that position.

    forward: `z = W (r(x) - mean)`, r a `Radial`; log_det: `sum_i log |W_ii|`, and that of r;
    inverse: `x = r^-1(W^-1 z + mean)`, with W lower triangular: what is above is not read.

    Let W be the inverse of the Cholesky factor of a position's covariance. Where r(x) is normal
    there, z is standard normal. This flow with nothing after it is a Gaussian for each position,
    and |z| is the Mahalanobis distance.

    mean f[h, w, c] and whitening W f[h, w, c, c] live in the collection `constants`, 0 and the
    identity at init; they fix the size of the input. So do images f[], the number n that they were
    learned from, and own f[h, w], what of each covariance is the mean of d d^T over these, where
    `d = r(x) - mean`. With them the Gaussian without one of its images is known: the mean moves by
    d / (n - 1), and the covariance loses `own / (n - 1) d d^T`. With `k = own / (n - 1)`,

    leave_one_out: `z n / (n - 1) / sqrt(1 - k |z|^2)`, log_det `- log(1 - k |z|^2) / 2` more. Where
      `k |z|^2` is 1 or more, the image was none of them, and z stays.

    Attributes:
      exponent: of r; 0: none.

    Raises:
      ValueError: if the exponent is not from 0 to below 1, x is not f[..., h, w, c] or has another
        size than the constants, or the variables lack `constants`.

    Reference: arXiv 2107.12571, Eq. 5 and 6, for a Gaussian as a linear flow.
    """

    statistics = "gaussians"

    exponent: float = 0.0

    @property
    def radial(self) -> Radial:
        """Return r."""
        return Radial(self.exponent, parent=None)

    @nn.compact
    def _constants(
        self, x: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array, jax.Array]:
        """Return mean, whitening and its log_det f[h, w], nats; images and own."""
        check_constants(self, "mean")
        shape = x.shape[-3:]
        mean = self.variable("constants", "mean", jnp.zeros, shape, x.dtype).value
        whitening = self.variable("constants", "whitening", _identities, shape, x.dtype).value
        images = self.variable("constants", "images", jnp.zeros, (), x.dtype).value
        own = self.variable("constants", "own", jnp.zeros, shape[:-1], x.dtype).value
        if mean.shape != shape:
            raise ValueError(
                f"x must be f[..., {', '.join(map(str, mean.shape))}], as in the "
                f"variables, got shape {x.shape}"
            )
        log_det = jnp.log(jnp.abs(jnp.diagonal(whitening, axis1=-2, axis2=-1))).sum(-1)
        return mean, jnp.tril(whitening), log_det, images, own

    def forward_and_log_det(
        self, x: jax.Array, condition: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Map x f[..., h, w, c] to z and log_det f[..., h, w], nats; no condition is read."""
        x = widen(check_map("x", x))
        mean, whitening, log_det, _, _ = self._constants(x)
        r, outer = self.radial.forward_and_log_det(x)
        d = r - jnp.expand_dims(mean, range(x.ndim - 3))
        z = jnp.einsum("hwij,...hwj->...hwi", whitening, d, precision="highest")
        return z, outer + jnp.expand_dims(log_det, range(x.ndim - 3))

    def leave_one_out(
        self, x: jax.Array, condition: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Map x f[..., h, w, c] by the Gaussians of all other images; log_det f[..., h, w]."""
        z, log_det = self.forward_and_log_det(x, condition)
        _, _, _, images, own = self._constants(z)
        others = jnp.maximum(images - 1.0, 1.0)
        taken = jnp.square(z).sum(-1) * jnp.expand_dims(own / others, range(z.ndim - 3))
        known = (images > 1) & (taken < 1.0)
        rest = jnp.where(known, 1.0 - taken, 1.0)
        factor = jnp.where(known, images / others, 1.0) / jnp.sqrt(rest)
        return z * factor[..., None], log_det - 0.5 * jnp.log(rest)

    def inverse_and_log_det(
        self, z: jax.Array, condition: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Map z f[..., h, w, c] to x and the inverse's log_det f[..., h, w], nats."""
        z = widen(check_map("z", z))
        mean, whitening, log_det, _, _ = self._constants(z)
        # All inputs are the right-hand sides of one system a position.
        sides = jnp.moveaxis(z.reshape(-1, *z.shape[-3:]), 0, -1)
        d = jax.scipy.linalg.solve_triangular(whitening, sides, lower=True)
        r = jnp.moveaxis(d, -1, 0).reshape(z.shape) + jnp.expand_dims(mean, range(z.ndim - 3))
        x, outer = self.radial.inverse_and_log_det(r)
        return x, outer - jnp.expand_dims(log_det, range(z.ndim - 3))


def _identities(shape: tuple[int, int, int], dtype: jnp.dtype) -> jax.Array:
    return jnp.broadcast_to(jnp.eye(shape[-1], dtype=dtype), (*shape, shape[-1]))


def _log_norm(x: jax.Array) -> jax.Array:
    """Return log |x| f[...] of x f[..., c]."""
    return 0.5 * jnp.log(jnp.maximum(jnp.square(x).sum(-1), _LEAST_NORM**2))
