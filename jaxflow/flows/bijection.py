"""The contract of everything invertible: both directions, and the log-determinant of each."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxflow.flows.arguments import check_array, check_sequence, per_position, widen
from jaxflow.flows.likelihood import StandardNormal

# An array f[..., c], or a tuple of them: the feature maps of an encoder.
Value = Any


@runtime_checkable
class Base(Protocol):
    """The distribution of latents; a Linen module that answers this is trained with its flow."""

    def log_prob(self, z: jax.Array) -> jax.Array:
        """Return log p f[...] of every position of z f[..., c], nats."""

    def sample(self, key: jax.Array, shape: Sequence[int]) -> jax.Array:
        """Draw z f[*shape]."""


class Bijection(nn.Module, kw_only=True):
    """A map with an exact inverse, and the log-determinant of each direction at every position.

    An author writes two methods, `forward_and_log_det` and `inverse_and_log_det`; the rest follows:

      __call__(x) = z;  inverse(z) = x;  log_prob(x) = base.log_prob(z) + log_det.

    x is an array f[..., c] or a tuple of arrays, the maps of an encoder. log_det has the structure
    of z, one number f[...] a position, nats. Its sum over all positions is the log-determinant of
    the Jacobian of the direction taken. Both are of at least float32.

    Attributes:
      base: distribution of the latents, see `Base`; the standard normal.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> class Double(Bijection):
      ...     def forward_and_log_det(self, x, condition=None):
      ...         return 2 * x, jnp.full(x.shape[:-1], x.shape[-1] * jnp.log(2.0))
      ...
      ...     def inverse_and_log_det(self, z, condition=None):
      ...         return z / 2, jnp.full(z.shape[:-1], -z.shape[-1] * jnp.log(2.0))
      >>> x = jnp.ones((4, 3))
      >>> Double().apply({}, x, method="log_prob").shape
      (4,)
      >>> Double().apply({}, jax.random.key(0), (4, 3), method="sample").shape
      (4, 3)

    Any flow works in Flax NNX too, through `nnx.bridge.ToNNX`:
      >>> from flax import nnx
      >>> from jaxflow.flows import GlobalAffine
      >>> flow = nnx.bridge.ToNNX(GlobalAffine(), rngs=nnx.Rngs(0)).lazy_init(x)
      >>> z, log_det = flow(x, method="forward_and_log_det")

    Reference: arXiv 1912.02762, section 2.
    """

    # Flax: a link that its author named keeps that name in the variables.
    preserve_adopted_names = True

    base: Base = StandardNormal()

    @property
    def inner(self) -> Sequence["Bijection"]:
        """The flows that it is made of, as its fields hold them; none: it is one by itself."""
        return ()

    @property
    def pointwise(self) -> bool:
        """Whether vectors f[n, c] are taken, each by itself: groups of them can then be trained."""
        return bool(self.inner) and all(flow.pointwise for flow in self.inner)

    @property
    def joint(self) -> bool:
        """Whether it takes the tuple of all maps, and not one map."""
        return False

    @property
    def starts_from_data(self) -> bool:
        """Whether its start is to be computed from data by `start_from_data`, as ActNorm's is."""
        return any(flow.starts_from_data for flow in self.inner)

    @property
    def bijective(self) -> bool:
        """Whether there is an inverse; without one, `inverse_and_log_det` raises ValueError."""
        return all(flow.bijective for flow in self.inner)

    @property
    def statistics(self) -> str | None:
        """What of the training data its constants are to be: "moments", "gaussians" or nothing.

        "moments" are mean f[c] and std f[c] of each channel; "gaussians", of each position, mean
        f[h, w, c] and whitening f[h, w, c, c], the inverse of the covariance's Cholesky factor; and
        images f[] and own f[h, w], see `Whiten`.
        """
        return None

    @nn.nowrap
    def describe(self) -> str:
        """Say in a line what it is: its class and its plain attributes."""
        said = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name.endswith("dtype") and value is not None:
                value = jnp.dtype(value).name
            if field.name != "name" and isinstance(value, int | float | str | tuple):
                said.append(f"{field.name} {value}")
        return f"{type(self).__name__}: {', '.join(said)}" if said else type(self).__name__

    def forward_and_log_det(self, x: Value, condition: Value = None) -> tuple[Value, Value]:
        """Map x f[..., c], given a condition f[..., d] or None, to z and log_det f[...], nats."""
        raise NotImplementedError(f"{type(self).__name__} must define forward_and_log_det")

    def inverse_and_log_det(self, z: Value, condition: Value = None) -> tuple[Value, Value]:
        """Map z f[..., c] to x and the inverse's log_det f[...], nats."""
        raise NotImplementedError(f"{type(self).__name__} must define inverse_and_log_det")

    def leave_one_out(self, x: Value, condition: Value = None) -> tuple[Value, Value]:
        """Map x as `forward_and_log_det` would, had its constants been learned without x.

        For an image that they were learned from, so that what is trained behind it sees the image
        as it will see new ones. Where they do not tell one image from another, the same as forward.
        """
        return self.forward_and_log_det(x, condition)

    @nn.nowrap
    def carry_forward(self, log_det: Value) -> Value:
        """Return a log_det at the positions of x as one at those of z, of the same sum.

        Links that change the grid define this and `carry_inverse`; `Chain` asks for it.
        """
        return log_det

    @nn.nowrap
    def carry_inverse(self, log_det: Value) -> Value:
        """Return a log_det at the positions of z as one at those of x, of the same sum."""
        return log_det

    def __call__(self, x: Value, condition: Value = None) -> Value:
        """Return only z; see `forward_and_log_det`."""
        return self.forward_and_log_det(x, condition)[0]

    def inverse(self, z: Value, condition: Value = None) -> Value:
        """Return only x; see `inverse_and_log_det`."""
        return self.inverse_and_log_det(z, condition)[0]

    def log_prob(self, x: Value, condition: Value = None) -> Value:
        """Return the exact log-likelihood at every position.

        Args:
          x: f[..., c], or a tuple of arrays.
          condition: f[..., d], or None.

        Returns:
          Of the structure of z: f[...], nats, in at least float32; the log-likelihood of an image
          is the sum over its positions and maps.

        Raises:
          ValueError: if the base does not answer `Base`.
        """
        self._check_base()
        z, log_det = self.forward_and_log_det(x, condition)
        return jax.tree.map(self._log_prob, z, log_det)

    def sample(self, key: jax.Array, shape: Sequence[Any], condition: Value = None) -> Value:
        """Draw latents from the base and map them to x.

        Args:
          key: random key.
          shape: of the latents z with their batch, (n, h, w, c) or (n, c); a sequence of such
            shapes where z is a tuple. It is that of x, unless the flow changes the grid.
          condition: f[..., d], or None.

        Returns:
          x, as `inverse` gives it.

        Raises:
          ValueError: if the shape is none, or the base does not answer `Base`.
        """
        self._check_base()
        check_sequence("shape", shape, "a sequence of integers, or of shapes")
        if any(isinstance(size, Sequence) for size in shape):
            keys = jax.random.split(key, len(shape))
            maps = tuple(self.base.sample(k, s) for k, s in zip(keys, shape, strict=True))
            return self.inverse(maps, condition)
        return self.inverse(self.base.sample(key, shape), condition)

    @nn.nowrap
    def _check_base(self) -> None:
        if not isinstance(self.base, Base):
            raise ValueError(f"base must have log_prob and sample, got {self.base!r}")

    @nn.nowrap
    def _log_prob(self, z, log_det):
        log_prob = self.base.log_prob(widen(z))
        if log_prob.shape != log_det.shape:
            raise ValueError(
                f"base.log_prob must give a number a position, f{list(log_det.shape)}, "
                f"got shape {log_prob.shape}"
            )
        return log_prob + log_det


Flow = TypeVar("Flow", bound=Bijection)


def check_flow(name: str, value: Flow) -> Flow:
    """Return `value`; raise ValueError unless it is a Bijection."""
    if not isinstance(value, Bijection):
        got = f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
        raise ValueError(f"{name} must be a flow, got {got}")
    return value


class Identity(Bijection):
    """Leave x, an array or a tuple of arrays, as it is.

    forward: `z = x`; log_det: 0; inverse: `x = z`.

    Raises:
      ValueError: if x holds something that is no floating array.
    """

    pointwise = True

    def forward_and_log_det(self, x: Value, condition: Value = None) -> tuple[Value, Value]:
        """Return x and zeros f[...]."""
        return _same("x", x)

    def inverse_and_log_det(self, z: Value, condition: Value = None) -> tuple[Value, Value]:
        """Return z and zeros f[...]."""
        return _same("z", z)


def _same(name, value):
    if isinstance(value, list | tuple):
        value = tuple(widen(check_array(f"{name}[{i}]", each)) for i, each in enumerate(value))
    else:
        value = widen(check_array(name, value))
    return value, jax.tree.map(lambda each: per_position(0.0, each), value)


class Inverse(Bijection):
    """Turn a flow round: `Inverse(Squeeze())` makes a map larger.

    forward: `z = flow^-1(x)`; log_det: that of the flow's inverse; inverse: `x = flow(z)`.

    Attributes:
      flow: any Bijection.

    Raises:
      ValueError: if it is none.
    """

    flow: Bijection

    @property
    def inner(self) -> Sequence[Bijection]:
        """The flow."""
        return (self.flow,)

    @property
    def joint(self) -> bool:
        """As the flow is."""
        return self.flow.joint

    @nn.nowrap
    def carry_forward(self, log_det: Value) -> Value:
        """Carry it as the flow's inverse does."""
        return self.flow.carry_inverse(log_det)

    @nn.nowrap
    def carry_inverse(self, log_det: Value) -> Value:
        """Carry it as the flow does."""
        return self.flow.carry_forward(log_det)

    def forward_and_log_det(self, x: Value, condition: Value = None) -> tuple[Value, Value]:
        """Map x to the flow's input, and return the log_det f[...] of its inverse, nats."""
        return check_flow("flow", self.flow).inverse_and_log_det(x, condition)

    def inverse_and_log_det(self, z: Value, condition: Value = None) -> tuple[Value, Value]:
        """Map z through the flow, and return its log_det f[...], nats."""
        return check_flow("flow", self.flow).forward_and_log_det(z, condition)
