import pytest

from jaxflow.data import load_dataset
from jaxflow.errors import InputError


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
