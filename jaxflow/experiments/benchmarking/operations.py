"""Count the floating-point operations of a program, without running or compiling it."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax


def count_operations(function: Callable[..., Any], *arguments: Any) -> int:
    """Count the operations of a function's products of matrices and convolutions.

    A product and its sum are two. Elementwise work is not counted: it grows with the channels, not
    with their square. A loop counts as often as it runs; one whose end is not known, once.

    Args:
      function: traced, not run.
      arguments: arrays, or their shapes.

    Example:
      >>> import jax.numpy as jnp
      >>> count_operations(jnp.dot, jnp.ones((2, 3)), jnp.ones((3, 4)))
      48
    """
    return _count(jax.make_jaxpr(function)(*arguments).jaxpr)


def _count(jaxpr: Any) -> int:
    return sum(_operations(equation) for equation in jaxpr.eqns)


def _operations(equation: Any) -> int:
    name = equation.primitive.name
    if name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        shape = equation.invars[0].aval.shape
        return 2 * equation.outvars[0].aval.size * math.prod(shape[axis] for axis in contracted)
    if name == "conv_general_dilated":
        kernel = equation.invars[1].aval
        channels = equation.params["dimension_numbers"].rhs_spec[0]
        return 2 * equation.outvars[0].aval.size * kernel.size // kernel.shape[channels]
    inner = [_count(jaxpr) for jaxpr in _inner(equation.params)]
    if name == "cond":
        return max(inner, default=0)
    return equation.params.get("length", 1) * sum(inner) if name == "scan" else sum(inner)


def _inner(params: dict[str, Any]) -> Iterator[Any]:
    """Give the programs that an equation runs."""
    for value in params.values():
        for each in value if isinstance(value, tuple | list) else (value,):
            if hasattr(each, "eqns"):
                yield each
            elif hasattr(each, "jaxpr") and hasattr(each.jaxpr, "eqns"):
                yield each.jaxpr
