"""Freed memory stays with the process."""

import os
import platform
import subprocess
import sys

import pytest

from lrpot.allocator import keep_freed_memory

# Pages of a block that comes back from the kernel are cleared when they are first written; those
# of one that stayed are not. The kernel counts the former.
_PAGES = """
import resource
import numpy as np
import lrpot

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

np.ones(1 << 23)
before = faults()
for _ in range(4):
    np.ones(1 << 23)
print(faults() - before)
"""


def _faults(**settings: str) -> int:
    environment = {name: value for name, value in os.environ.items() if "MALLOC" not in name}
    program = [sys.executable, "-c", _PAGES]
    done = subprocess.run(
        program, env=environment | settings, capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_large_blocks_are_reused():
    assert _faults() < 1000


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_settings_of_the_user_win():
    # Two megabytes and more come from the kernel, in pages of 4 kB or, rarely, of 2 MB.
    assert _faults(MALLOC_MMAP_THRESHOLD_="131072", MALLOC_TRIM_THRESHOLD_="131072") > 4 * 32


def test_says_whether_it_is_so(monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "131072")
    assert not keep_freed_memory()
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_")
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not keep_freed_memory()
