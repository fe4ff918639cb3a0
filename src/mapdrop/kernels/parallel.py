"""Spread a kernel that releases the interpreter lock over threads.

If PyTorch is loaded with its OpenMP, its threads do the work. After each of its operations they
wait for the next one without sleeping, and other threads would have to share the cores with them
(in place, between two of PyTorch's operations, that took a quarter longer). Otherwise a pool of
Python threads does it. Numba's own thread layers are not used: they abort the process if two Python
threads use them at once, or after a fork.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

_PARTS, _LONG = 8, 4  # At most so many ranges for each thread, of at least so many grains.
_CALL = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_process = os.getpid()  # A forked child has none of its parent's threads, OpenMP's neither.


def spread(
    work: Callable[..., Any], count: int, threads: int, grain: int, align: int, *args: Any
) -> None:
    """Call `work(*args, low, high)` so that the ranges cover 0 to count.

    The ranges are multiples of `align`, and a thread gets at least `grain` units. Each thread,
    including the caller's, takes the next range when it is done with its last one, so that a thread
    that the system delays does not delay the others; where none is delayed, all get as many. The
    first error of any thread is raised.
    """
    threads = min(threads, count // grain)
    if threads <= 1:
        work(*args, 0, count)
        return
    parts = threads * max(1, min(_PARTS, count // (_LONG * grain * threads)))
    size = -(-count // parts // align) * align
    lows = deque(range(0, count, size))
    errors: list[BaseException] = []

    def take(_: int | None = None) -> None:
        try:
            while True:
                try:
                    low = lows.popleft()  # Threads may share a deque.
                except IndexError:
                    return
                work(*args, low, min(low + size, count))
        except BaseException as error:  # Raised by the caller's thread, below.
            errors.append(error)

    openmp = _openmp("torch" in sys.modules) if os.getpid() == _process else None
    if openmp is not None:
        openmp(_CALL(take), None, threads, 0)
    else:
        others = [_pool(os.getpid()).submit(take) for _ in range(threads - 1)]
        take()
        for other in others:
            other.result()
    if errors:
        raise errors[0]


@lru_cache(maxsize=1)
def _pool(process: int) -> ThreadPoolExecutor:
    """Return the pool of this process."""
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="mapdrop")


@lru_cache(maxsize=2)
def _openmp(torch_is_loaded: bool) -> Any:
    """Return GOMP_parallel(function, data, threads, flags) of PyTorch's OpenMP, or None."""
    place = getattr(sys.modules.get("torch"), "__file__", None)
    library = Path(place or "").parent / "lib" / "libgomp.so.1"
    if not torch_is_loaded or not library.exists():
        return None
    parallel = ctypes.CDLL(str(library)).GOMP_parallel
    parallel.argtypes = [_CALL, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    parallel.restype = None
    return parallel
