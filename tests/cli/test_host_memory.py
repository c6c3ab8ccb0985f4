"""The setting of the process's memory, seen from the system's side."""

import ctypes
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from jaxflow.host_memory import keep_freed_memory

PROGRAM = """
import sys
import numpy as np
from jaxflow.host_memory import keep_freed_memory

def heap_kb(field):
    return sum(
        int(line.split()[1])
        for block in open("/proc/self/smaps").read().split("[heap]")[1:]
        for line in block.splitlines()[:40]
        if line.startswith(field)
    )

assert keep_freed_memory()
big = np.ones(16 << 20)
held, huge = heap_kb("Rss:"), heap_kb("AnonHugePages:")
del big
print(held, heap_kb("Rss:"), huge)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_freed_memory_stays_in_huge_pages():
    out = subprocess.run(
        [sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True
    ).stdout
    held, kept, huge = (int(value) for value in out.split())
    assert held >= 128 << 10, "the array is not on the heap"
    assert kept >= 128 << 10, "freed memory went back to the system"
    setting = Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text()
    if "[never]" not in setting:
        assert huge > 0, "the heap is not in huge pages"


def test_without_glibc_nothing_is_done_and_that_is_said(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert keep_freed_memory() is False
