"""Spread a kernel that releases the interpreter lock over threads.

Numba's own thread layers abort the process when two Python threads use them at once, or after a
fork; a pool of Python threads does neither.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

_PARTS = 8  # For each thread.


@lru_cache(maxsize=1)
def _pool(process: int) -> ThreadPoolExecutor:
    """One pool for each process: a forked child must not wait for its parent's threads."""
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="mapdrop")


def spread(
    work: Callable[..., Any], count: int, threads: int, grain: int, align: int, *args: Any
) -> None:
    """Call `work(*args, low, high)` so that the ranges cover 0 to count.

    The ranges are multiples of `align`, and of at least `grain` units. Each thread, the caller's
    among them, takes the next one when it is done with its last: a thread that the system holds up
    does not hold up the others.
    """
    parts = max(1, min(_PARTS * threads, count // grain))
    if parts == 1 or threads == 1:
        work(*args, 0, count)
        return
    size = -(-count // parts // align) * align
    lows = deque(range(0, count, size))

    def take() -> None:
        while True:
            try:
                low = lows.popleft()  # A deque, because threads may share it.
            except IndexError:
                return
            work(*args, low, min(low + size, count))

    pool = _pool(os.getpid())
    others = [pool.submit(take) for _ in range(min(threads, parts) - 1)]
    take()
    for other in others:
        other.result()
