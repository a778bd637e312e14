"""Memory that is freed stays with the process, in large pages, so that the kernel's page tables cost little."""

import ctypes
import os
from pathlib import Path

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_MADV_HUGEPAGE = 14
_LARGE_PAGE = 2 << 20
# Of a machine's memory, what is asked for in large pages at most. No page is taken before it is used.
_LARGEST_SHARE, _MOST_BYTES = 8, 2 << 30
_LARGE_PAGES, _OVERCOMMIT = Path("/sys/kernel/mm/transparent_hugepage/enabled"), Path("/proc/sys/vm/overcommit_memory")


def keep_freed_memory() -> bool:
    """Tell the C library to give no freed memory back to the kernel, for the rest of the process.

    An update allocates and frees large tensors over and over. By default glibc maps and unmaps each of them, and
    clearing the pages costs time: a tenth of the main job's, a third of plain Stable-Baselines3's iteration with 256
    contexts of 64 tokens a minibatch.

    Where Linux leaves it to programs, it is also asked for pages of 2 MB rather than 4 kB: weights of 20 MB, read once
    a token, have more small pages than a processor can keep track of, and products of few rows take a quarter less
    time in large ones.

    Returns:
        Whether the C library is one that can be told so (glibc).
    """
    try:
        libc = ctypes.CDLL(None)
        mallopt = libc.mallopt
    except (AttributeError, OSError, TypeError):
        return False
    is_kept = bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, -1))
    if is_kept and _may_have_large_pages():
        _ask_for_large_pages(libc)
    return is_kept


def _may_have_large_pages() -> bool:
    """Whether programs choose them, and a stretch of addresses costs nothing as long as it is not used."""
    import resource  # which Windows lacks

    limits = (resource.RLIMIT_AS, resource.RLIMIT_DATA)
    if any(resource.getrlimit(limit)[0] != resource.RLIM_INFINITY for limit in limits):
        return False
    if "MALLOC_PERTURB_" in os.environ or "perturb" in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    try:
        return "[madvise]" in _LARGE_PAGES.read_text() and _OVERCOMMIT.read_text().strip() != "2"
    except OSError:
        return False


def _ask_for_large_pages(libc: ctypes.CDLL) -> None:
    """Let the heap go on with a stretch for which the kernel takes large pages; without any, nothing changes.

    glibc itself can only be told by an environment variable, before the process begins.
    """
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    size = min(total // _LARGEST_SHARE, _MOST_BYTES)
    stretch = libc.malloc(size)
    if stretch is None:
        return
    first = -(-stretch // _LARGE_PAGE) * _LARGE_PAGE
    libc.madvise(first, stretch + size - first, _MADV_HUGEPAGE)
    libc.free(stretch)
