"""A detector's variables in a file of safetensors."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flax
import numpy as np

from jaxflow.detectors.contract import Variables
from jaxflow.errors import InputError, needs_extra
from jaxflow.files import explain, file_sha256, write_atomically


def write_variables(path: Path, variables: Variables) -> str:
    """Write variables under their names, joined by "/"; return the file's SHA-256.

    Raises:
      OSError: if the file cannot be written.
    """
    with needs_extra("detectors"):
        import safetensors.numpy
    flat = flax.traverse_util.flatten_dict(variables, sep="/")
    arrays = {name: np.asarray(value, order="C") for name, value in flat.items()}
    write_atomically(path, safetensors.numpy.save(arrays))
    return file_sha256(path)


def read_variables(path: Path, sha256: str, shapes: Any) -> Variables:
    """Read what `write_variables` wrote.

    Args:
      path: the file.
      sha256: that it had.
      shapes: what `init` of the detector gives; a side of 0 is what grows with the data.

    Raises:
      InputError: if the file is missing, damaged or of another detector.
    """
    with needs_extra("detectors"):
        import safetensors.numpy
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(explain(error)) from error
    if file_sha256(path) != sha256:
        raise InputError(f"{path} is damaged: its content does not match its SHA-256")
    flat = safetensors.numpy.load(content)
    expected = flax.traverse_util.flatten_dict(shapes, sep="/")
    for name, leaf in expected.items():
        found = flat.get(name)
        if found is None or found.dtype != leaf.dtype or not _fits(found.shape, leaf.shape):
            got = "nothing" if found is None else f"{found.dtype}{list(found.shape)}"
            raise InputError(
                f"{path}: expected {leaf.dtype}{list(leaf.shape)} at {name}, got {got}"
            )
    variables = flax.traverse_util.unflatten_dict(flat, sep="/")
    return {collection: variables.get(collection, {}) for collection in ("params", "constants")}


def _fits(shape: Sequence[int], expected: Sequence[int]) -> bool:
    """Tell whether a shape is the one expected, where 0 is what grows with the data."""
    pairs = list(zip(shape, expected, strict=False))
    return len(shape) == len(expected) and all(a == b or b == 0 for a, b in pairs)
