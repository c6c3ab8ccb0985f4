"""What tests of several folders share."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile

import pytest


def pytest_configure(config):
    """Let all processes of this run share their compiled programs: each is compiled once."""
    if hasattr(config, "workerinput"):
        return  # A worker of pytest-xdist: it has the environment of the first process.
    compiled = tempfile.mkdtemp(prefix="compiled-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = compiled
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    config.add_cleanup(lambda: shutil.rmtree(compiled, ignore_errors=True))


@pytest.fixture
def launch():
    """Start a program as a process of its own: launch(program, *arguments, devices=1)."""
    with contextlib.ExitStack() as stack:

        def launch(program, *arguments, devices=1):
            environment = os.environ | {
                "JAX_PLATFORMS": "cpu",
                "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
            }
            command = [sys.executable, "-W", "error::ResourceWarning", str(program)]
            pipe = subprocess.PIPE
            process = stack.enter_context(
                subprocess.Popen(
                    [*command, *map(str, arguments)],
                    env=environment,
                    stdout=pipe,
                    stderr=pipe,
                    text=True,
                )
            )
            stack.callback(process.kill)
            return process

        yield launch


@pytest.fixture
def coordinator():
    """Give a free address where two processes can meet."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


@pytest.fixture
def registries_kept():
    """Take back, after the test, what it adds to the registries."""
    from jaxflow.experiments.plugins import PLUGINS, registries

    kept = [PLUGINS, *registries().values()]
    before = [dict(registry) for registry in kept]
    yield
    for registry, entries in zip(kept, before, strict=True):
        registry.clear()
        registry.update(entries)
