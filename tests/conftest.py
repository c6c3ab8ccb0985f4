"""What tests of several folders share."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile

import pytest

# What the tests run is small: without optimization it compiles in a fraction of the time.
_QUICK = (
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
    "--xla_cpu_use_fusion_emitters=false",
)


_DEVICES = "--xla_force_host_platform_device_count"


def _known(flags):
    """Return those that this version of XLA has: it ends a process that sets others."""
    program = [sys.executable, "-c", "import jax; jax.devices()"]

    def accepted(some):
        environment = {**os.environ, "XLA_FLAGS": " ".join(some)}
        done = subprocess.run(program, env=environment, capture_output=True, check=False)
        return done.returncode == 0

    return flags if accepted(flags) else [flag for flag in flags if accepted([flag])]


def pytest_configure(config):
    """Have all processes of this run compile little, and share what they compiled."""
    if hasattr(config, "workerinput"):
        return  # A worker of pytest-xdist: it has the environment of the first process.
    compiled = tempfile.mkdtemp(prefix="compiled-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = compiled
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *_known(_QUICK)])
    config.add_cleanup(lambda: shutil.rmtree(compiled, ignore_errors=True))


@pytest.fixture
def launch():
    """Start a program as a process of its own: launch(program, *arguments, devices=1)."""
    with contextlib.ExitStack() as stack:

        def launch(program, *arguments, devices=1):
            environment = os.environ | {
                "JAX_PLATFORMS": "cpu",
                "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} {_DEVICES}={devices}",
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
