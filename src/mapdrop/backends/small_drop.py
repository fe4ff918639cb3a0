"""Drops of few values: a kernel and its arguments, worked out once for each memory layout."""

from __future__ import annotations

from typing import Any

import numpy as np

from mapdrop import kernels
from mapdrop.backends import cpu
from mapdrop.spec.law import threshold
from mapdrop.spec.local_spec import LocalSpec
from mapdrop.spec.mask_spec import BoundSpec

MOST = 1 << 13  # Values up to which one thread that draws and applies is fastest.

# The dtype that the kernels take instead of each.
CARRIERS: dict[str, np.dtype[Any]] = {
    "float16": np.dtype(np.uint16),
    "bfloat16": np.dtype(np.int16),
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
}
_HALF, _ALL = 1 << 63, 1 << 64


class SmallDrop:
    """A drop of few values that lie in memory as runs of equal coins, in order."""

    def __init__(self, bound: BoundSpec | LocalSpec, run: int, dtype: str) -> None:
        fast = kernels.for_small()
        assert fast is not None
        wide = np.dtype("float64" if dtype == "float64" else "float32")
        self._kernel = fast.drop
        self._arguments: tuple[Any, ...] = (
            bound.binding.count,
            run,
            threshold(bound.law.p),
            np.array([bound.expected], wide),
            np.empty(0, CARRIERS[dtype]),
        )

    def __call__(self, source: int, target: int, key: int, step: int) -> None:
        """Drop the values at one address into another."""
        if key >= _HALF:
            key -= _ALL
        if step >= _HALF:
            step -= _ALL
        self._kernel(source, target, key, step, *self._arguments)


def small_drop(
    bound: BoundSpec | LocalSpec, strides: tuple[int, ...], dtype: str
) -> SmallDrop | None:
    """Return the drop for an array of these strides in bytes, or None if it takes more."""
    values, count = bound.binding.values, bound.binding.count
    simple = bound.law.independent and bound.counted_axes is None and bound.first == 0
    if not simple or not 0 < values <= MOST or not cpu.compiled(bound, dtype):
        return None
    walk = cpu.memory_walk(bound.binding.ungrouped, strides, CARRIERS[dtype].itemsize)
    if walk is None or bound.binding.ungrouped.count != count:
        return None
    run = values // count
    in_runs = ((count, 1),), ((count, 1), (run, 0)), ((1, 0), (run, 0)), ((run, 0),)
    return SmallDrop(bound, run, dtype) if walk[1] in in_runs else None
