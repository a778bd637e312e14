"""Freed memory that is kept, in large pages where the kernel leaves that to programs; in a process of its own."""

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
SIZE = Path("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size")


@pytest.fixture(scope="module")
def figures() -> tuple[int, int, int]:
    """MiB: taken by the call, then in large pages, and still there once 64 are freed."""
    if not all(Path(f"/proc/self/{name}").is_file() for name in ("statm", "smaps_rollup")):
        pytest.skip("needs /proc, to see memory")
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    is_kept, taken, large, kept = json.loads(done.stdout)
    if not is_kept:
        pytest.skip("the C library is not glibc")
    return taken, large, kept


def test_to_ask_for_it_takes_no_memory(figures: tuple[int, int, int]) -> None:
    assert figures[0] < 8


def test_freed_memory_is_kept(figures: tuple[int, int, int]) -> None:
    assert figures[2] >= 60


def test_large_pages_are_used_where_programs_choose_them(figures: tuple[int, int, int]) -> None:
    is_left_to_programs = CHOICE.is_file() and "[madvise]" in CHOICE.read_text()
    if not is_left_to_programs or int(SIZE.read_text()) != 2 << 20:
        pytest.skip("the kernel leaves pages of 2 MB to no program")
    assert figures[1] >= 2
