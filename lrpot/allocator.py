"""Freed memory stays with the process, where the C library is told how.

Every call of a compiled function allocates its working memory anew. By default glibc takes large
blocks from the kernel and hands them back at once, and the kernel clears every page again before
the next use: half of the time of a large evaluation on a processor.
"""

import ctypes
import os
import platform

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's mallopt."""

_SETTINGS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")
"""Environment variables by which a user decides about the same."""

_BLOCK, _FREE = 1 << 30, (1 << 31) - 1
"""Bytes: blocks up to this size, and free memory up to this sum, are kept."""


def keep_freed_memory() -> bool:
    """Let glibc reuse large blocks instead of handing them back to the kernel.

    Affects the whole process; other C libraries are left as they are, and so is glibc when one of
    its own environment variables is set (`MALLOC_TRIM_THRESHOLD_=131072` is its default).

    Returns:
        Whether it is so now.
    """
    if platform.libc_ver()[0] != "glibc" or any(name in os.environ for name in _SETTINGS):
        return False
    set_option = ctypes.CDLL(None).mallopt
    return bool(set_option(_MMAP_THRESHOLD, _BLOCK)) and bool(set_option(_TRIM_THRESHOLD, _FREE))
