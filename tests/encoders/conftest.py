"""Weights in timm's names and the reference maps that they gave in timm."""

import dataclasses
import json
import pathlib
import zlib

import numpy as np
import pytest
import safetensors.numpy

FIXTURES = pathlib.Path(__file__).parent / "fixtures"


def draw(name, shape):
    """Draw one parameter from its name, by the rules of fixtures/make_fixtures.py."""
    noise = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)
    noise = noise.astype(np.float32)
    if name.endswith("running_var"):
        return 0.5 + np.abs(noise)
    if noise.ndim >= 2:
        return noise / np.float32(np.sqrt(np.prod(shape[1:])))
    return 1.0 + 0.1 * noise if name.endswith("weight") else 0.1 * noise


@dataclasses.dataclass
class Reference:
    """A fixture: timm's maps, by stage, of drawn images and weights."""

    name: str
    stages: tuple[int, ...]
    keep: int
    shapes: dict[str, list[int]]
    images: np.ndarray
    maps: dict[int, np.ndarray]

    def weights(self, skip=()):
        """Draw the weights, leaving out keys that start with any of `skip`."""
        keys = [key for key in self.shapes if not key.startswith(tuple(skip))]
        return {key: draw(key, self.shapes[key]) for key in keys}

    def write_weights(self, path, skip=()):
        """Write them as a safetensors file and return its path as text."""
        safetensors.numpy.save_file(self.weights(skip), path)
        return str(path)


def read_reference(fixture):
    """Read a fixture by name."""
    with np.load(FIXTURES / f"{fixture}.npz") as data:
        stages = tuple(int(s) for s in data["stages"])
        rng = np.random.default_rng(zlib.crc32(b"images"))
        return Reference(
            name=str(data["name"]),
            stages=stages,
            keep=int(data["keep"]),
            shapes=json.loads(str(data["shapes"])),
            images=rng.integers(0, 256, (1, *data["size"], 3), np.uint8),
            maps={s: data[f"map{s}"] for s in stages},
        )


@pytest.fixture
def reference():
    """Give the reader of fixtures."""
    return read_reference


@pytest.fixture
def resnet18_file(tmp_path):
    """Give a ResNet-18 weights file without its last stage and head, and the drawn tensors."""
    ref = read_reference("resnet18")
    skip = ("layer4.", "fc.")
    return ref.write_weights(tmp_path / "resnet18.safetensors", skip), ref.weights(skip)
