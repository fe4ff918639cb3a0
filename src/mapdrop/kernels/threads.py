"""Spread a kernel that releases the interpreter lock over threads.

Numba's own thread layers abort the process when two Python threads use them at once, or after a
fork; a pool of Python threads does neither.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any


@lru_cache(maxsize=1)
def _pool(process: int) -> ThreadPoolExecutor:
    """One pool for each process: a forked child must not wait for its parent's threads."""
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="mapdrop")


def spread(
    work: Callable[..., Any], count: int, threads: int, grain: int, align: int, *args: Any
) -> None:
    """Call `work(*args, low, high)` so that the ranges cover 0 to count.

    There is a part for each thread, at least `grain` units long and a multiple of `align`; the
    calling thread takes the first.
    """
    parts = max(1, min(threads, count // grain))
    if parts == 1:
        work(*args, 0, count)
        return
    size = -(-count // parts // align) * align
    ranges = [(low, min(low + size, count)) for low in range(0, count, size)]
    pool = _pool(os.getpid())
    others = [pool.submit(work, *args, low, high) for low, high in ranges[1:]]
    work(*args, *ranges[0])
    for other in others:
        other.result()
