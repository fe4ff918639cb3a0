"""Huge pages for large results: most of the time to write new memory is page faults.

NumPy asks the kernel for huge pages for its large arrays; PyTorch does not, so we ask for it.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Callable
from functools import cache

from torch import Tensor

# Bytes. The C library returns larger blocks to the system each time; smaller ones are reused, and
# their pages are mapped already.
_LARGE = 32 << 20
_ADVICE = getattr(mmap, "MADV_HUGEPAGE", None)


@cache
def _madvise() -> Callable[[int, int, int], int] | None:
    if sys.platform != "linux" or _ADVICE is None:
        return None
    function = ctypes.CDLL(None, use_errno=True).madvise
    function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return function


def huge_pages(fresh: Tensor) -> Tensor:
    """Ask for huge pages for a new tensor and return it. The system may ignore the hint."""
    size = fresh.untyped_storage().nbytes()
    if size >= _LARGE and (advise := _madvise()) is not None:
        start = -(-fresh.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
        end = (fresh.data_ptr() + size) // mmap.PAGESIZE * mmap.PAGESIZE
        advise(start, end - start, _ADVICE or 0)
    return fresh
