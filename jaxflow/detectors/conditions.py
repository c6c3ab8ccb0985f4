"""What a flow is told besides a feature map: named choices."""

from collections.abc import Callable

import jax

from jaxflow.flows import position_encoding


def no_condition(height: int, width: int, dim: int) -> None:
    """Tell nothing: with CFLOW's decoders, the unconditional ablation UFLOW.

    Args:
      height: of the map.
      width: of the map.
      dim: unused.
    """
    del height, width, dim


# Name -> function of (height, width, dim) that gives f32[height, width, dim], or None.
CONDITIONS: dict[str, Callable[[int, int, int], jax.Array | None]] = {
    "none": no_condition,
    "position": position_encoding,
}
