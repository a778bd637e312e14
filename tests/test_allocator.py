"""Freed memory that is kept, in large pages where the kernel leaves that to programs; in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from textgym import allocator
from textgym.allocator import _may_have_large_pages

SCRIPT = """
import ctypes, json, resource
from pathlib import Path
from textgym.allocator import keep_freed_memory

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() >> 20

def in_large_pages():
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if "AnonHuge" in line) >> 10

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
    if not _may_have_large_pages() or not SIZE.is_file() or int(SIZE.read_text()) != 2 << 20:
        pytest.skip("the kernel leaves pages of 2 MB to no program")
    assert figures[1] >= 2


@pytest.mark.parametrize(
    ("case", "may"),
    [
        ("left to programs", True),
        ("always large", False),
        ("never large", False),
        ("no such file", False),
        ("addresses are counted", False),
        ("addresses are limited", False),
        ("memory is filled for debugging", False),
        ("memory is filled, by a tunable", False),
    ],
)
def test_a_stretch_is_asked_for_only_where_it_costs_nothing(
    case: str, may: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resource = pytest.importorskip("resource")
    choices = {"always large": "[always] madvise never", "never large": "always madvise [never]"}
    choice, overcommit = tmp_path / "enabled", tmp_path / "overcommit_memory"
    if case != "no such file":
        choice.write_text(choices.get(case, "always [madvise] never") + "\n")
    overcommit.write_text("2\n" if case == "addresses are counted" else "0\n")
    limit = 1 << 40 if case == "addresses are limited" else resource.RLIM_INFINITY
    monkeypatch.setattr(allocator, "_LARGE_PAGES", choice)
    monkeypatch.setattr(allocator, "_OVERCOMMIT", overcommit)
    monkeypatch.setattr(resource, "getrlimit", lambda which: (limit, limit))
    monkeypatch.delenv("MALLOC_PERTURB_", raising=False)
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    if case == "memory is filled for debugging":
        monkeypatch.setenv("MALLOC_PERTURB_", "165")
    if case == "memory is filled, by a tunable":
        monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.perturb=165")
    assert _may_have_large_pages() is may
