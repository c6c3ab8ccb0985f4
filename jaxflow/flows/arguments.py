"""Checks of what a flow is given: each error names it, what is expected and what was got."""

import functools
import math
import numbers
from collections.abc import Collection, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import export


def check_choice(name: str, value: Any, choices: Collection[str]) -> None:
    """Raise ValueError naming the choices unless `value` is one of them."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")


def check_integer(name: str, value: Any) -> None:
    """Raise ValueError unless `value` is an integer or a symbolic dimension."""
    if export.is_symbolic_dim(value):
        return
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise ValueError(f"{name} must be an integer, got {value!r}")


def check_count(name: str, value: Any) -> None:
    """Raise ValueError unless `value` is an integer of at least 1."""
    check_integer(name, value)
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")


def check_positive(name: str, value: Any) -> None:
    """Raise ValueError unless `value` is a finite number above 0."""
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise ValueError(f"{name} must be a positive number, got {value!r}")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value}")
    if value <= 0:
        raise ValueError(f"{name} must be positive, got {value}")


def check_share(name: str, value: Any) -> None:
    """Raise ValueError unless `value` is a number of at least 0 and below 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise ValueError(f"{name} must be a number of at least 0 and below 1, got {value!r}")


def check_odd(name: str, value: Any) -> None:
    """Raise ValueError unless `value` is an odd, positive integer: the size of a kernel."""
    check_integer(name, value)
    if value % 2 == 0 or value < 1:
        raise ValueError(f"{name} must be odd and positive, got {value}")


def check_sequence(name: str, value: Any, expected: str) -> None:
    """Raise ValueError unless `value` is a list or tuple; `expected` says of what."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ValueError(f"{name} must be {expected}, got {value!r}")


def check_callable(name: str, value: Any, expected: str) -> None:
    """Raise ValueError unless `value` can be called; `expected` says what it is."""
    if not callable(value):
        raise ValueError(f"{name} must be {expected}, got {value!r}")


def check_dtype(name: str, value: Any) -> None:
    """Raise ValueError unless `value` is a floating dtype of at least 16 bits."""
    try:
        dtype = None if value is None else jnp.dtype(value)
    except TypeError:
        dtype = None
    if dtype is None or not jnp.issubdtype(dtype, jnp.floating) or dtype.itemsize < 2:
        got = repr(value) if dtype is None else dtype
        raise ValueError(f"{name} must be a floating dtype of at least 16 bits, got {got}")


def check_precision(name: str, value: Any) -> None:
    """Raise ValueError unless `value` is a precision of `jax.lax`'s products, or None."""
    matrix = jax.ShapeDtypeStruct((1, 1), jnp.float32)
    try:
        jax.eval_shape(functools.partial(jnp.dot, precision=value), matrix, matrix)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} must be a precision of JAX, such as 'highest', 'high' or 'default', "
            f"got {value!r}"
        ) from error


def check_array(name: str, value: Any) -> jax.Array:
    """Return `value` as a JAX array.

    Raises:
      ValueError: if it is no array, not of a floating dtype, or has no axis.
    """
    if not hasattr(value, "shape") or not hasattr(value, "dtype"):
        raise ValueError(f"{name} must be an array, got {type(value).__name__}")
    if not jnp.issubdtype(value.dtype, jnp.floating):
        raise ValueError(f"{name} must have a floating dtype, got {value.dtype}")
    if not value.shape:
        raise ValueError(f"{name} must have channels as its last axis, got shape ()")
    return jnp.asarray(value)


def check_map(name: str, value: Any) -> jax.Array:
    """Return `value` as a JAX array; raise ValueError unless it is a floating f[..., h, w, c]."""
    value = check_array(name, value)
    if value.ndim < 3:
        raise ValueError(f"{name} must be f[..., h, w, c], got shape {value.shape}")
    return value


def check_moments(mean: Any, std: Any) -> tuple[jax.Array, jax.Array]:
    """Return mean and std as JAX arrays; raise ValueError unless both are a floating f[c]."""
    mean, std = check_array("mean", mean), check_array("std", std)
    if mean.ndim != 1 or std.shape != mean.shape:
        raise ValueError(f"mean and std must be f[c] both, got shapes {mean.shape} and {std.shape}")
    return mean, std


def check_maps(name: str, value: Any, count: int | None = None) -> Sequence[Any]:
    """Return `value`; raise ValueError unless it is a tuple of `count` maps, or of any number."""
    if not isinstance(value, Sequence):
        raise ValueError(f"{name} must be a tuple of maps, got {type(value).__name__}")
    if count is not None and len(value) != count:
        raise ValueError(f"{name} must hold {count} maps, got {len(value)}")
    return value


def check_condition(condition: Any, leading: tuple[int, ...]) -> jax.Array | None:
    """Return the condition as a JAX array; None stays None.

    Args:
      condition: f[..., d].
      leading: axes before the channels of what the condition goes with.

    Raises:
      ValueError: if it is no floating array, or its own leading axes do not broadcast to these.
    """
    if condition is None:
        return None
    condition = check_array("condition", condition)
    given = condition.shape[:-1]
    tail = leading[len(leading) - len(given) :]
    if len(given) > len(leading) or any(n not in (1, m) for n, m in zip(given, tail, strict=True)):
        raise ValueError(
            f"condition must have leading axes that broadcast to {leading}, "
            f"got shape {condition.shape}"
        )
    return condition


def check_channels(channels: int, expected: int) -> None:
    """Raise ValueError unless the channels are as many as those that the variables are for."""
    if channels != expected:
        raise ValueError(f"channels must be {expected}, as in the variables, got {channels}")


def check_constants(module: nn.Module, name: str) -> None:
    """Raise ValueError if a constant is neither among the variables nor to be made."""
    if not module.has_variable("constants", name) and not module.is_mutable_collection("constants"):
        raise ValueError(
            "variables must hold the collection constants, as init returned it beside params, "
            f"got none with {name}"
        )


def widen(x: jax.Array) -> jax.Array:
    """Return x in at least float32."""
    return x if x.dtype.itemsize >= 4 else x.astype(jnp.float32)


def per_channel(value: jax.Array, x: jax.Array) -> jax.Array:
    """Return value f[c] with as many axes as x f[..., c]: JAX may forbid to add them by itself."""
    return jnp.expand_dims(value, range(x.ndim - value.ndim))


def per_position(log_det: jax.Array | float, x: jax.Array) -> jax.Array:
    """Return a log_det that is the same everywhere as f[...], one number a position of x."""
    return jnp.broadcast_to(jnp.asarray(log_det, x.dtype), x.shape[:-1])
