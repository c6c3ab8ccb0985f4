import functools
import importlib.util
import pathlib
import signal
import sys

import numpy as np
import pytest

PROGRAM = pathlib.Path(__file__).parent / "tiny_run.py"


@pytest.fixture(scope="session")
def tiny():
    """Give the module of the tiny run."""
    spec = importlib.util.spec_from_file_location("tiny_run", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    sys.modules["tiny_run"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def kept(tiny):
    """Give the parts of a run on kept features."""
    return tiny.make_parts(augment=False)


@pytest.fixture(scope="session")
def augmented(tiny):
    """Give the parts of a run on augmented images."""
    return tiny.make_parts(augment=True)


@pytest.fixture(scope="session")
def grouped(tiny):
    """Give the parts of a run on groups of vectors of augmented images."""
    return tiny.make_parts(augment=True, vectors=40)


@pytest.fixture(scope="session", params=["pmap", "sharded"])
def either(tiny, request):
    """Give the parts of a run on kept features, by either way to share work among devices."""
    return tiny.make_parts(augment=False, devices=tiny.DEVICES[request.param])


@pytest.fixture
def start(launch):
    """Start the tiny run as a process of its own: start(*arguments, devices=1)."""
    return functools.partial(launch, PROGRAM)


@pytest.fixture
def interrupt_at():
    """Wrap batches so that a signal arrives while batch `number` is fetched."""

    class Interrupting:
        def __init__(self, batches, number):
            self._batches, self._left = batches, number
            self.get_state, self.set_state = batches.get_state, batches.set_state
            self.frozen, self.encode = batches.frozen, batches.encode

        def __next__(self):
            self._left -= 1
            if self._left == 0:
                signal.raise_signal(signal.SIGINT)
            return next(self._batches)

    return Interrupting


@pytest.fixture
def assert_equal_on_devices():
    """Check that every array of a saved state is the same on all of `count` devices."""

    def check(saved, count):
        assert saved
        for name, array in saved.items():
            assert len(array) == count
            np.testing.assert_array_equal(array, np.broadcast_to(array[:1], array.shape), name)

    return check
