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
      ValueError: if there is no step or one is missing, a step lacks an array, has one of another
        shape or more layers, or its `w_perm` is not orthogonal.
    """
    steps = sorted({int(m[1]) for name in arrays if (m := _STEP.match(name))})
    if not steps:
        raise ValueError("no array is named module_list.<step>.*, so this is no SequenceINN")
    if absent := sorted(set(range(steps[-1])) - set(steps)):
        raise ValueError(f"step {absent[0]} of {steps[-1] + 1} has no array")
    params, constants = {}, {}
    for i in steps:
        prefix = f"module_list.{i}."
        step = {k[len(prefix) :]: np.asarray(v) for k, v in arrays.items() if k.startswith(prefix)}
        required = {"global_scale", "global_offset", "w_perm"}
        required |= {f"subnet.{layer}.{part}" for layer in (0, 2) for part in ("weight", "bias")}
        if missing := sorted(required - step.keys()):
            raise ValueError(f"step {i} lacks {', '.join(missing)}")
        _check_step(i, step, required)
        params[f"links_{i}"] = {
            "affine": {
                "theta": jnp.asarray(step["global_scale"].reshape(-1)),
                "offset": jnp.asarray(step["global_offset"].reshape(-1)),
            },
            "subnet": {"input": _layer(step, 0), "output": _layer(step, 2)},
        }
        constants[f"links_{i}"] = {"shuffle": _permutation(step["w_perm"])}
    return {"params": {"chain": params}, "constants": {"chain": constants}}


def _check_step(i, step, required):
    """Raise ValueError unless the shapes of a step's arrays fit together."""
    for name, array in step.items():
        if name.startswith("subnet.") and name not in required:
            raise ValueError(f"step {i} has {name}, but a conditioner here has layers 0 and 2 only")
        if name in required and array.dtype.kind not in "fiu":
            raise ValueError(f"{name} of step {i} must hold numbers, got {array.dtype}")
    first, last = (step[f"subnet.{layer}.weight"] for layer in (0, 2))
    for layer, weight in ((0, first), (2, last)):
        kernel = weight.shape[2:]
        if weight.ndim not in (2, 4) or (kernel and (kernel[0] != kernel[1] or kernel[0] % 2 == 0)):
            expected = "[out, in] or [out, in, k, k] with k odd"
            raise _wrong_shape(i, f"subnet.{layer}.weight", expected, weight)
    channels = step["global_scale"].size
    half, hidden = channels // 2, len(first)
    if first.shape[1] < channels - half:
        raise _wrong_shape(i, "subnet.0.weight", f"at least {channels - half} inputs", first)
    if last.ndim != first.ndim or last.shape[1] != hidden or len(last) not in (half, 2 * half):
        expected = f"{first.ndim} axes, {2 * half} outputs and {hidden} inputs"
        raise _wrong_shape(i, "subnet.2.weight", expected, last)
    sizes = {"global_offset": channels, "subnet.0.bias": hidden, "subnet.2.bias": len(last)}
    for name, size in sizes.items():
        if step[name].size != size:
            raise _wrong_shape(i, name, f"{size} numbers", step[name])
    matrix = step["w_perm"]
    if matrix.shape not in ((channels, channels), (channels, channels, 1, 1)):
        raise _wrong_shape(i, "w_perm", f"[{channels}, {channels}]", matrix)
    matrix = matrix.reshape(channels, channels).astype(np.float64)
    if not np.abs(matrix @ matrix.T - np.eye(channels)).max() < 0.01:
        raise ValueError(f"w_perm of step {i} must be orthogonal, and is not")


def _wrong_shape(i, name, expected, array):
    return ValueError(f"{name} of step {i} must have {expected}, got shape {array.shape}")


def _layer(step, number):
    weight = step[f"subnet.{number}.weight"]
    kernel = weight.transpose(2, 3, 1, 0) if weight.ndim == 4 else weight.T
    return {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(step[f"subnet.{number}.bias"])}


def _permutation(matrix):
    matrix = matrix.reshape(matrix.shape[:2])
    if np.isin(matrix, (0, 1)).all():
        return {"index": jnp.asarray(matrix.argmax(1).astype(np.int32))}
    return {"rotation": jnp.asarray(matrix)}
