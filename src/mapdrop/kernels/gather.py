"""Gather rows and columns of a weight, and add them back, compiled for the CPU by Numba.

A weight is seen as (rows, columns, inner), where inner is the kernel's size. An index one past the
end gathers zeros; nothing is added back for it.
"""

from __future__ import annotations

from typing import Any

from mapdrop.kernels.jit import compiled
from mapdrop.kernels.parallel import spread

_GRAIN = 1 << 16  # Values below which another thread costs more than it saves.


@compiled()
def _gather(out: Any, source: Any, rows: Any, columns: Any, gain: Any, low: int, high: int) -> None:
    inner = source.shape[2]
    for i in range(low, high):
        target = out[i].reshape(-1)
        if rows[i] >= source.shape[0]:
            target[:] = 0
            continue
        line = source[rows[i]].reshape(-1)
        for j in range(columns.size):
            to, at = j * inner, columns[j] * inner
            if columns[j] >= source.shape[1]:
                target[to : to + inner] = 0
            elif inner == 9:  # A constant is unrolled, which is twice as fast.
                for k in range(9):
                    target[to + k] = line[at + k] * gain
            elif inner == 1:
                target[to] = line[at] * gain
            else:
                for k in range(inner):
                    target[to + k] = line[at + k] * gain


@compiled()
def _scatter_add(total: Any, part: Any, rows: Any, columns: Any, low: int, high: int) -> None:
    inner = total.shape[2]
    for i in range(low, high):
        if rows[i] >= total.shape[0]:
            continue
        target = total[rows[i]].reshape(-1)
        line = part[i].reshape(-1)
        for j in range(columns.size):
            to, at = columns[j] * inner, j * inner
            if columns[j] >= total.shape[1]:
                continue
            if inner == 9:
                for k in range(9):
                    target[to + k] += line[at + k]
            elif inner == 1:
                target[to] += line[at]
            else:
                for k in range(inner):
                    target[to + k] += line[at + k]


def gather(out: Any, source: Any, rows: Any, columns: Any, gain: float, threads: int) -> None:
    """out[i, j] = source[rows[i], columns[j]] * gain."""
    scale = source.dtype.type(gain)
    _spread(_gather, out, threads, out, source, rows, columns, scale)


def scatter_add(total: Any, part: Any, rows: Any, columns: Any, threads: int) -> None:
    """total[rows[i], columns[j]] += part[i, j]. No row may occur twice."""
    _spread(_scatter_add, part, threads, total, part, rows, columns)


def _spread(work: Any, array: Any, threads: int, *args: Any) -> None:
    lines = max(1, array.shape[0])
    grain = max(1, _GRAIN * lines // max(1, array.size))
    spread(work, array.shape[0], threads, grain, 1, *args)
