"""Where our parameters lie in a PyTorch state dict, and how they are read from it.

A layout maps the path of one of our submodules (or of a single parameter) to its source. A source
knows the PyTorch keys that it reads, the shapes they must have, and how to build our arrays:
convolutions go from [out, in, h, w] to [h, w, in, out] with their batch norm folded in, linear
layers from [out, in] to [in, out].
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

Shape = tuple[int, ...]
Leaves = Mapping[str, Any]
Tensors = Mapping[str, np.ndarray]


class Source(Protocol):
    """Where the parameters of one submodule come from."""

    def keys(self) -> tuple[str, ...]:
        """List the PyTorch keys that are read."""

    def shapes(self, leaves: Leaves) -> dict[str, Shape]:
        """Give the PyTorch shape of each key, from our arrays (or their shapes) by name."""

    def build(self, tensors: Tensors) -> dict[str, np.ndarray]:
        """Build our arrays, f32, by name."""


Layout = dict[tuple[str, ...], Source]

_NORM_KEYS = ("weight", "bias", "running_mean", "running_var")


@dataclasses.dataclass(frozen=True)
class Conv:
    """A convolution, with the batch norm that follows it folded in if `norm` names one.

    kernel' = kernel * g / sqrt(var + eps), bias' = b + (bias - mean) * g / sqrt(var + eps): exact
    at inference, where the statistics are constants.
    """

    conv: str
    norm: str | None = None
    has_bias: bool = False
    eps: float = 1e-5

    def keys(self) -> tuple[str, ...]:
        """List the PyTorch keys that are read."""
        keys = [f"{self.conv}.weight"]
        if self.has_bias:
            keys.append(f"{self.conv}.bias")
        if self.norm is not None:
            keys.extend(f"{self.norm}.{key}" for key in _NORM_KEYS)
        return tuple(keys)

    def shapes(self, leaves: Leaves) -> dict[str, Shape]:
        """Give the PyTorch shape of each key."""
        height, width, c_in, c_out = leaves["kernel"].shape
        shapes: dict[str, Shape] = dict.fromkeys(self.keys(), (c_out,))
        shapes[f"{self.conv}.weight"] = (c_out, c_in, height, width)
        return shapes

    def build(self, tensors: Tensors) -> dict[str, np.ndarray]:
        """Fold in float64, round once to float32."""
        kernel = tensors[f"{self.conv}.weight"].transpose(2, 3, 1, 0).astype(np.float64)
        bias = np.zeros(kernel.shape[-1])
        if self.has_bias:
            bias = tensors[f"{self.conv}.bias"].astype(np.float64)
        if self.norm is not None:
            gain, offset, mean, var = (
                tensors[f"{self.norm}.{key}"].astype(np.float64) for key in _NORM_KEYS
            )
            scale = gain / np.sqrt(var + self.eps)
            kernel = kernel * scale
            bias = offset + (bias - mean) * scale
        return {"kernel": _float32(kernel), "bias": _float32(bias)}


@dataclasses.dataclass(frozen=True)
class Dense:
    """A linear layer."""

    name: str
    has_bias: bool = True

    def keys(self) -> tuple[str, ...]:
        """List the PyTorch keys that are read."""
        return (f"{self.name}.weight", f"{self.name}.bias")[: 1 + self.has_bias]

    def shapes(self, leaves: Leaves) -> dict[str, Shape]:
        """Give the PyTorch shape of each key."""
        c_in, c_out = leaves["kernel"].shape
        return dict(zip(self.keys(), ((c_out, c_in), (c_out,)), strict=False))

    def build(self, tensors: Tensors) -> dict[str, np.ndarray]:
        """Transpose the weight."""
        built = {"kernel": _float32(tensors[f"{self.name}.weight"].T)}
        if self.has_bias:
            built["bias"] = _float32(tensors[f"{self.name}.bias"])
        return built


@dataclasses.dataclass(frozen=True)
class LayerNorm:
    """A layer norm with scale and bias."""

    name: str

    def keys(self) -> tuple[str, ...]:
        """List the PyTorch keys that are read."""
        return (f"{self.name}.weight", f"{self.name}.bias")

    def shapes(self, leaves: Leaves) -> dict[str, Shape]:
        """Give the PyTorch shape of each key."""
        return dict.fromkeys(self.keys(), tuple(leaves["scale"].shape))

    def build(self, tensors: Tensors) -> dict[str, np.ndarray]:
        """Rename."""
        return {
            "scale": _float32(tensors[f"{self.name}.weight"]),
            "bias": _float32(tensors[f"{self.name}.bias"]),
        }


@dataclasses.dataclass(frozen=True)
class Array:
    """A parameter that is stored as it is used; its path ends in the parameter's own name."""

    name: str

    def keys(self) -> tuple[str, ...]:
        """List the PyTorch keys that are read."""
        return (self.name,)

    def shapes(self, leaves: Leaves) -> dict[str, Shape]:
        """Give the PyTorch shape of the key."""
        return {self.name: tuple(leaves[""].shape)}

    def build(self, tensors: Tensors) -> dict[str, np.ndarray]:
        """Copy."""
        return {"": _float32(tensors[self.name])}


@dataclasses.dataclass(frozen=True)
class Stacked:
    """The same layer of consecutive blocks, stacked on a leading axis as `nn.scan` wants it."""

    members: tuple[Source, ...]

    def keys(self) -> tuple[str, ...]:
        """List the PyTorch keys that are read."""
        return tuple(key for member in self.members for key in member.keys())

    def shapes(self, leaves: Leaves) -> dict[str, Shape]:
        """Give the PyTorch shape of each key."""
        one = {name: _Shaped(tuple(leaf.shape[1:])) for name, leaf in leaves.items()}
        return {key: s for member in self.members for key, s in member.shapes(one).items()}

    def build(self, tensors: Tensors) -> dict[str, np.ndarray]:
        """Stack what the members build."""
        built = [member.build(tensors) for member in self.members]
        return {name: np.stack([b[name] for b in built]) for name in built[0]}


@dataclasses.dataclass(frozen=True)
class _Shaped:
    shape: Shape


def _float32(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, dtype=np.float32)


def leaves_at(params: Mapping[str, Any], path: tuple[str, ...]) -> Leaves:
    """Give the arrays under a path by name; a single parameter goes by the empty name."""
    node: Any = params
    for part in path:
        node = node[part]
    return node if isinstance(node, Mapping) else {"": node}


def torch_shapes(layout: Layout, params: Mapping[str, Any]) -> dict[str, Shape]:
    """Give the shape that each PyTorch key must have, from our parameters or their shapes."""
    return {
        key: shape
        for path, source in layout.items()
        for key, shape in source.shapes(leaves_at(params, path)).items()
    }


def build_params(layout: Layout, tensors: Tensors) -> dict[str, Any]:
    """Build our nested parameters, f32, from PyTorch tensors by key."""
    params: dict[str, Any] = {}
    for path, source in layout.items():
        leaves = source.build(tensors)
        *parents, last = path
        node = params
        for part in parents:
            node = node.setdefault(part, {})
        node[last] = leaves.get("", leaves)
    return params
