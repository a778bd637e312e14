"""Memory that is freed stays with the process, in large pages, so that no time goes into the kernel's page tables."""

import ctypes
import os

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_MADV_HUGEPAGE = 14
_LARGE_PAGE = 2 << 20
# Of a machine's memory, what is asked for in large pages at most. No page is taken before it is used.
_LARGEST_SHARE, _MOST_BYTES = 8, 4 << 30


def keep_freed_memory() -> bool:
    """Tell the C library to give no freed memory back to the kernel, for the rest of the process.

    An update allocates and frees large tensors over and over. By default glibc maps and unmaps each of them, and
    clearing the pages costs time: a tenth of the main job's, a third of plain Stable-Baselines3's iteration with 256
    contexts of 64 tokens a minibatch.

    Linux is also asked for pages of 2 MB rather than 4 kB, where it leaves that to programs: weights of 20 MB, read
    once a token, have more small pages than a processor can keep track of, and products of few rows take a quarter
    less time in large ones.

    Returns:
        Whether the C library is one that can be told so (glibc).
    """
    try:
        libc = ctypes.CDLL(None)
        mallopt = libc.mallopt
    except (AttributeError, OSError, TypeError):
        return False
    is_kept = bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, -1))
    if is_kept:
        _ask_for_large_pages(libc)
    return is_kept


def _ask_for_large_pages(libc: ctypes.CDLL) -> None:
    """Let the heap begin with a stretch for which the kernel takes large pages; without any, nothing changes.

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
