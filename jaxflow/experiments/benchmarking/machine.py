"""What a timing was measured on."""

import os
import platform
import resource
import sys
from pathlib import Path
from typing import Any

import flax
import jax
import jaxlib

_CPUINFO = Path("/proc/cpuinfo")


def describe_machine() -> dict[str, Any]:
    """Name the devices, the processor and the versions that timings depend on."""
    device = jax.local_devices()[0]
    return {
        "device": device.device_kind,
        "platform": device.platform,
        "devices": jax.device_count(),
        "processor": _processor(),
        "cpu_cores": os.cpu_count(),
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "flax": flax.__version__,
        "python": platform.python_version(),
    }


def peak_memory() -> tuple[str, float]:
    """Return whose peak memory is known, and the peak since the process began, 10^6 bytes.

    The device's where it keeps count (GPU, TPU), else that of the process, host arrays included.
    """
    statistics = jax.local_devices()[0].memory_stats()
    if statistics and "peak_bytes_in_use" in statistics:
        return "device", statistics["peak_bytes_in_use"] / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return "process", peak * (1 if sys.platform == "darwin" else 1024) / 1e6


def _processor() -> str:
    if _CPUINFO.exists():
        for line in _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
