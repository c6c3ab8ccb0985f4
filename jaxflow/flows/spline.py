"""Monotonic rational-quadratic splines, with their inverse in closed form."""

import dataclasses
import math

import jax
import jax.numpy as jnp

from jaxflow.flows.arguments import check_count, check_positive


@dataclasses.dataclass(frozen=True)
class RationalQuadraticSpline:
    """Map every channel by its own spline inside [-bound, bound]; outside, values stay as they are.

    With k the bin of b, w, h its width and height, s = h / w, d_0, d_1 the slopes at its ends, and
    `xi = (b - left) / w`:

      forward: `bottom + h (s xi^2 + d_0 xi (1 - xi)) / (s + (d_0 + d_1 - 2 s) xi (1 - xi))`;
      log_det: the sum over c of the logarithm of its derivative;
      inverse: the root in [0, 1] of a quadratic equation in xi.

    Of the `3 bins - 1` numbers of a channel, times 0.1 as for an affine coupling, a softmax of the
    first `bins` gives the widths, one of the next `bins` the heights, and a softplus of the others
    the slopes between bins. Zeros are the identity.

    Attributes:
      bins: of every spline, at least 2.
      bound: half the side of the square that is mapped onto itself, in the unit of b.
      min_width: least width of a bin, as a part of the whole; bins * min_width is below 1.
      min_height: the same of the heights.
      min_derivative: least slope between two bins, below 1.

    Raises:
      ValueError: if bins is below 2, or another value is not positive or too large.

    Example: a coupling of 16 bins
      >>> import jax, jax.numpy as jnp
      >>> from jaxflow.flows import Coupling, DenseConditioner
      >>> coupling = Coupling(DenseConditioner(), coupling=RationalQuadraticSpline(bins=16))
      >>> x = jnp.ones((3, 6))
      >>> variables = coupling.init(jax.random.key(0), x)
      >>> z, log_det = coupling.apply(variables, x, method="forward_and_log_det")

    Reference: arXiv 1906.04032, Eq. 4 to 8.
    """

    bins: int = 8
    bound: float = 5.0
    min_width: float = 1e-3
    min_height: float = 1e-3
    min_derivative: float = 1e-3

    def __post_init__(self):
        check_count("bins", self.bins)
        if self.bins < 2:
            raise ValueError(f"bins must be at least 2, got {self.bins}")
        check_positive("bound", self.bound)
        for name, largest in (
            ("min_width", 1 / self.bins),
            ("min_height", 1 / self.bins),
            ("min_derivative", 1.0),
        ):
            value = getattr(self, name)
            check_positive(name, value)
            if value >= largest:
                raise ValueError(f"{name} must be below {largest:g}, got {value}")

    @property
    def outputs(self) -> int:
        """How many numbers the conditioner gives for each channel."""
        return 3 * self.bins - 1

    def forward(self, b: jax.Array, numbers: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Map b f[..., c], given numbers f[..., outputs * c], to f[..., c] and log_det f[...]."""
        return self._run(b, numbers, inverse=False)

    def inverse(self, b: jax.Array, numbers: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Map b back, and return the log_det f[...] of the inverse."""
        return self._run(b, numbers, inverse=True)

    def _run(self, b, numbers, inverse):
        widths, heights, slopes = self._shape(b, numbers)
        z, log_slope = rational_quadratic(b, widths, heights, slopes, self.bound, inverse)
        return z, log_slope.sum(-1)

    def _shape(self, b, numbers):
        """Return widths and heights f[..., c, bins], which sum to 2 bound, and slopes."""
        numbers = 0.1 * numbers.reshape(*b.shape, self.outputs)
        widths, heights, slopes = jnp.split(numbers, [self.bins, 2 * self.bins], axis=-1)
        at_slope_one = math.log(math.expm1(1.0 - self.min_derivative))
        return (
            self._sizes(widths, self.min_width),
            self._sizes(heights, self.min_height),
            self.min_derivative + jax.nn.softplus(slopes + at_slope_one),
        )

    def _sizes(self, numbers, least):
        parts = least + (1.0 - least * self.bins) * jax.nn.softmax(numbers, axis=-1)
        return 2.0 * self.bound * parts


def rational_quadratic(
    x: jax.Array,
    widths: jax.Array,
    heights: jax.Array,
    slopes: jax.Array,
    bound: float,
    inverse: bool = False,
) -> tuple[jax.Array, jax.Array]:
    """Map x by a rational-quadratic spline over [-bound, bound]; outside it is the identity.

    Args:
      x: f[...].
      widths: f[..., k] of the bins, positive, of sum 2 bound.
      heights: f[..., k], the same.
      slopes: f[..., k - 1] between the bins, positive; at both ends the slope is 1.
      bound: half the width of the spline.
      inverse: whether to map back.

    Returns:
      z f[...], and the logarithm of the derivative, of the direction taken, f[...].
    """
    inside = (x > -bound) & (x < bound)
    ends = jnp.ones((*slopes.shape[:-1], 1), slopes.dtype)
    lefts, bottoms = _starts(widths, bound), _starts(heights, bound)
    within = jnp.clip(x, -bound, bound)[..., None]
    # One bin of the k: where x is past its start, and the next's is not passed.
    passed = within >= (bottoms if inverse else lefts)[..., 1:]
    first = jnp.ones_like(passed[..., :1])
    chosen = jnp.concatenate([first, passed], -1) & ~jnp.concatenate([passed, ~first], -1)

    def pick(values):
        return jnp.where(chosen, values, 0.0).sum(-1)

    width, height = pick(widths), pick(heights)
    left, bottom = pick(lefts), pick(bottoms)
    slope = height / width
    # Relative to the mean slope of the bin, so that no difference of small numbers is divided.
    d_0 = pick(jnp.concatenate([ends, slopes], -1)) / slope
    d_1 = pick(jnp.concatenate([slopes, ends], -1)) / slope
    bend = d_0 + d_1 - 2.0
    within = within[..., 0]
    if inverse:
        eta = (within - bottom) / height
        b = d_0 - eta * bend
        root = jnp.square(b) + 4.0 * eta * (1.0 - d_0 + eta * bend)
        xi = 2.0 * eta / (b + jnp.sqrt(jnp.maximum(root, jnp.finfo(x.dtype).tiny)))
        z = left + width * xi
    else:
        xi = (within - left) / width
        z = bottom + height * (xi * (xi + d_0 * (1.0 - xi))) / (1.0 + bend * xi * (1.0 - xi))
    rest = 1.0 - xi
    numerator = d_1 * xi * xi + 2.0 * xi * rest + d_0 * rest * rest
    log_slope = jnp.log(slope * numerator) - 2.0 * jnp.log(1.0 + bend * xi * rest)
    log_slope = jnp.where(inside, -log_slope if inverse else log_slope, 0.0)
    return jnp.where(inside, z, x), log_slope


def _starts(sizes, bound):
    """Return where each bin f[..., k] starts, the first at -bound."""
    return jnp.cumsum(sizes, axis=-1) - sizes - bound
