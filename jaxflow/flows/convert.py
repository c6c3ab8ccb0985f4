"""Read a flow trained in PyTorch with FrEIA's all-in-one block."""

import re
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

_STEP = re.compile(r"module_list\.(\d+)\.")


def from_freia(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Convert the state of a FrEIA SequenceINN of AllInOneBlocks into a chain's variables.

    Args:
      arrays: torch name -> array, as in `module_list.0.subnet.0.weight`; convolutions are
        [out, in, k, k], dense layers [out, in], `w_perm` [c, c] or [c, c, 1, 1].

    Returns:
      `{"params": ..., "constants": ...}` for `FastFlow2D` and every other flow over a `Chain`:
      a permutation matrix becomes an index (`permutation="hard"`), any other rotation stays a
      matrix (`permutation="soft"`).

    Raises:
      ValueError: if a step lacks an array, or there is no step.
    """
    steps = sorted({int(m[1]) for name in arrays if (m := _STEP.match(name))})
    if not steps:
        raise ValueError("no array is named module_list.<step>.*, so this is no SequenceINN")
    params, constants = {}, {}
    for i in steps:
        prefix = f"module_list.{i}."
        step = {k[len(prefix) :]: np.asarray(v) for k, v in arrays.items() if k.startswith(prefix)}
        required = {"global_scale", "global_offset", "w_perm"}
        required |= {f"subnet.{layer}.{part}" for layer in (0, 2) for part in ("weight", "bias")}
        if missing := sorted(required - step.keys()):
            raise ValueError(f"step {i} lacks {', '.join(missing)}")
        params[f"links_{i}"] = {
            "affine": {
                "theta": jnp.asarray(step["global_scale"].reshape(-1)),
                "offset": jnp.asarray(step["global_offset"].reshape(-1)),
            },
            "subnet": {"input": _layer(step, 0), "output": _layer(step, 2)},
        }
        constants[f"links_{i}"] = {"shuffle": _permutation(step["w_perm"])}
    return {"params": {"chain": params}, "constants": {"chain": constants}}


def _layer(step, number):
    weight = step[f"subnet.{number}.weight"]
    kernel = weight.transpose(2, 3, 1, 0) if weight.ndim == 4 else weight.T
    return {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(step[f"subnet.{number}.bias"])}


def _permutation(matrix):
    matrix = matrix.reshape(matrix.shape[:2])
    if np.isin(matrix, (0, 1)).all():
        return {"index": jnp.asarray(matrix.argmax(1).astype(np.int32))}
    return {"rotation": jnp.asarray(matrix)}
