import warnings

import numpy as np
import pytest
from PIL import Image

from jaxflow.data.loading import load_dataset
from jaxflow.errors import DataWarning, InputError


@pytest.fixture
def load(tmp_path):
    def load(name, data_dir=None, **arguments):
        data_dir = None if data_dir is None else str(data_dir)
        return load_dataset(name, data_dir=data_dir, cache_dir=str(tmp_path / "cache"), **arguments)

    return load


@pytest.fixture
def line(load):
    """Load what cannot be loaded; give the message."""

    def line(name, data_dir=None, **arguments):
        with pytest.raises(InputError) as caught:
            load(name, data_dir, **arguments)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return line


def write(path, size=(6, 5), seed=0, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return path


def write_mask(path, column=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((6, 5), np.uint8)
    pixels[2:4, column] = 255
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def root(tmp_path):
    """Give a folder in the layout, of 4 normal images, and 1 normal and 2 scratched test images."""
    for i in range(4):
        write(tmp_path / "set/train/good" / f"{i}.png", seed=i)
    write(tmp_path / "set/test/good/0.png")
    for i in range(2):
        write(tmp_path / "set/test/scratch" / f"{i}.png")
        write_mask(tmp_path / "set/ground_truth/scratch" / f"{i}_mask.png", column=i)
    return tmp_path / "set"


@pytest.fixture
def loaded(tmp_path):
    """Load a folder; give the data set, each of whose notes is one line."""

    def loaded(root, name="folder", **arguments):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)
            data = load_dataset(
                name,
                data_dir=str(root),
                cache_dir=str(tmp_path / "cache"),
                validation_fraction=0,
                **arguments,
            )
        assert not any("\n" in note for note in data.notes)
        return data

    return loaded


@pytest.fixture
def refusal(tmp_path):
    """Load a folder that is refused; give the line."""

    def refusal(root, name="folder", **arguments):
        with pytest.raises(InputError) as caught:
            load_dataset(name, data_dir=str(root), cache_dir=str(tmp_path / "cache"), **arguments)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return refusal
