"""Freed memory that is kept, in large pages where the kernel leaves that to programs; each in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import ctypes, json, resource
from pathlib import Path
from textgym.allocator import keep_freed_memory

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() >> 20

def in_large_pages():
    line = next(line for line in Path("/proc/self/smaps_rollup").read_text().splitlines() if "AnonHuge" in line)
    return int(line.split()[1]) >> 10

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
before = resident()
is_kept = keep_freed_memory()
after_call = resident()
block = libc.malloc(64 << 20)
ctypes.memset(block, 1, 64 << 20)
large = in_large_pages()
libc.free(block)
print(json.dumps([is_kept, after_call - before, large, resident() - before]))
"""
CHOICE = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@pytest.fixture(scope="module")
def figures() -> tuple[bool, int, int, int]:
    """Whether memory is kept, and MiB: taken by that, then in large pages, and still there once freed."""
    if sys.platform != "linux":
        pytest.skip("glibc is the C library of Linux")
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    is_kept, taken, large, kept = json.loads(done.stdout)
    if not is_kept:
        pytest.skip("the C library is not glibc")
    return is_kept, taken, large, kept


def test_to_ask_for_it_takes_no_memory(figures: tuple[bool, int, int, int]) -> None:
    assert figures[1] < 8


def test_freed_memory_is_kept(figures: tuple[bool, int, int, int]) -> None:
    assert figures[3] >= 60


def test_large_pages_are_used_where_there_are_any(figures: tuple[bool, int, int, int]) -> None:
    if not CHOICE.is_file() or "[never]" in CHOICE.read_text():
        pytest.skip("the kernel has no transparent large pages")
    assert figures[2] >= 32
