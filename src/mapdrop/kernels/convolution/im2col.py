"""Copy maps so that every tap of the kernel reads consecutive values (im2col, in its MEC variant).

Maps have three axes here (I, J, K); missing ones have size 1. A map is copied once for each tap
(j, k) along the two inner axes, shifted by that tap, with zeros for the padding. Along the
outermost axis no copy is needed: tap i reads the same copy from a later plane on (Cho and Brand
2017, "MEC", arXiv 1706.06873). For a kernel of 3 x 1 x 2, these are a map's copies, and where its
six taps begin:

    copy (0, 0):  | plane 0 | plane 1 | plane 2 | plane 3 | ...     each plane is out J x out K
                  ^ tap 0,0,0
                            ^ tap 1,0,0
                                      ^ tap 2,0,0
    copy (0, 1):  | plane 0 | plane 1 | plane 2 | plane 3 | ...     the same map, one value further
                  ^ tap 0,0,1
                            ^ tap 1,0,1
                                      ^ tap 2,0,1

From there on the values of all output pixels follow one another, in the order of the output.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapdrop.kernels.convolution.microkernel import BYTES, VECTORS, scale
from mapdrop.kernels.jit import compiled

IndexArray = NDArray[np.int64]
SIZE, OUT, KERNEL, PADDING, DILATION = range(5)  # The rows of `Geometry.array`.
DEPTH = 144  # Terms of a sum that are done at a time: they and their columns stay in the L1 cache.
COPIES = 1 << 18  # Bytes of copies that are held at a time, if a plane is not larger.
_LINE = 64  # Bytes of a cache line. A vector that lies across two takes twice as long to load.


@dataclass(frozen=True)
class RowIndex:
    """Which maps lie in the rows of a packed array.

    Attributes:
        first: rows `first[s]` to `first[s + 1]` - 1 are those of sample s.
        channel: each row's channel; a number that is no channel stands for a map of zeros.
    """

    first: IndexArray
    channel: IndexArray


@dataclass(frozen=True)
class Geometry:
    """A convolution's sizes and settings along three axes."""

    size: tuple[int, int, int]
    out: tuple[int, int, int]
    kernel: tuple[int, int, int]
    padding: tuple[int, int, int]  # Before the first value; may be negative.
    dilation: tuple[int, int, int]

    @property
    def of_input_gradient(self) -> Geometry:
        """The geometry of the input's gradient, a convolution by the reversed kernel."""
        axes = zip(self.dilation, self.kernel, self.padding, strict=True)
        first, second, third = (d * (k - 1) - p for d, k, p in axes)
        return Geometry(self.out, self.size, self.kernel, (first, second, third), self.dilation)

    def band(self, maps: int, itemsize: int) -> int:
        """Return how many planes of an output to make at a time, reading `maps` maps at a time.

        Their copies stay in the L2 cache. If there is room, a band consists of whole tiles.
        """
        plane, reach = self.out[1] * self.out[2], self.dilation[0] * (self.kernel[0] - 1)
        copies = maps * self.kernel[1] * self.kernel[2] * max(1, plane) * itemsize
        planes = max(1, COPIES // copies - reach)
        if planes >= self.out[0]:
            return max(1, self.out[0])
        tile = VECTORS * BYTES // itemsize
        whole = tile // gcd(tile, plane)  # So many planes are whole tiles.
        return planes - planes % whole or planes

    @property
    def array(self) -> IndexArray:
        """The numbers as compiled code reads them, of shape (5, 3)."""
        return np.array([self.size, self.out, self.kernel, self.padding, self.dilation], np.int64)


@compiled()
def aligned_zeros(n: int, like: Any) -> Any:
    """Return n zeros from the start of a cache line on, and what a tile may read beyond them."""
    line, beyond = _LINE // like.itemsize, VECTORS * BYTES // like.itemsize
    array = np.zeros(n + beyond + line, like.dtype)
    skip = (-array.ctypes.data) % _LINE // like.itemsize
    return array[skip : skip + n + beyond]


@compiled()
def _planes(geometry: Any) -> int:
    """Return the number of planes of a copy."""
    return int(geometry[OUT, 0] + geometry[DILATION, 0] * (geometry[KERNEL, 0] - 1))


@compiled()
def _copy_size(geometry: Any, like: Any) -> Any:
    """Return the number of values of one copy, rounded up to a cache line."""
    line = _LINE // like.itemsize
    return -(-_planes(geometry) * geometry[OUT, 1] * geometry[OUT, 2] // line) * line


@compiled()
def copies_size(geometry: Any, like: Any) -> Any:
    """Return the number of values of all copies of a map."""
    return geometry[KERNEL, 1] * geometry[KERNEL, 2] * _copy_size(geometry, like)


@compiled()
def tap_offsets(geometry: Any, like: Any) -> Any:
    """Return, for each tap of the kernel, where it begins in a map's copies, in bytes."""
    offsets = np.empty(geometry[KERNEL, 0] * geometry[KERNEL, 1] * geometry[KERNEL, 2], np.int64)
    copy = _copy_size(geometry, like)
    step = geometry[DILATION, 0] * geometry[OUT, 1] * geometry[OUT, 2]  # Values to the next tap i.
    tap = 0
    for i in range(geometry[KERNEL, 0]):
        for j in range(geometry[KERNEL, 1]):
            for k in range(geometry[KERNEL, 2]):
                offsets[tap] = ((j * geometry[KERNEL, 2] + k) * copy + i * step) * like.itemsize
                tap += 1
    return offsets


@compiled()
def banded(geometry: Any, first: int, planes: int) -> Any:
    """Return the geometry of `planes` planes of the output, from plane `first` on."""
    band = geometry.copy()
    band[OUT, 0] = planes
    band[PADDING, 0] -= first
    return band


@compiled()
def copy_map(out: Any, x: Any, geometry: Any, gain: Any) -> None:
    """Write a map's copies, times gain, to `out`, of `copies_size` values.

    Padding within a plane is not written: it stays zero, as `aligned_zeros` made it, for every map
    that is copied to this place.
    """
    copy, planes = _copy_size(geometry, x), _planes(geometry)
    before, size = geometry[PADDING, 0], geometry[OUT, 1] * geometry[OUT, 2]
    first = min(planes, max(0, before))
    last = max(first, min(planes, geometry[SIZE, 0] + before))
    for j in range(geometry[KERNEL, 1]):
        for k in range(geometry[KERNEL, 2]):
            # Output pixel (r, v) reads the map's value (r + up, v + left).
            up = j * geometry[DILATION, 1] - geometry[PADDING, 1]
            left = k * geometry[DILATION, 2] - geometry[PADDING, 2]
            start = (j * geometry[KERNEL, 2] + k) * copy
            target = out[start : start + planes * size]
            target[: first * size] = 0
            target[last * size :] = 0
            _shift(target, x, geometry, gain, up, left, first, last)


@compiled()
def _shift(
    target: Any, x: Any, geometry: Any, gain: Any, up: int, left: int, first: int, last: int
) -> None:
    """Write planes first to last - 1 of one copy."""
    rows, values = geometry[OUT, 1], geometry[OUT, 2]
    top, bottom = max(0, -up), min(rows, geometry[SIZE, 1] - up)
    low, high = max(0, -left), min(values, geometry[SIZE, 2] - left)
    if first >= last or top >= bottom or low >= high:
        return
    alike = rows == geometry[SIZE, 1] and values == geometry[SIZE, 2]
    if alike:
        # The copy is the map, moved on by some values; what came from the wrong row is cleared.
        start = (first * rows + top) * values + low
        end = ((last - 1) * rows + bottom - 1) * values + high
        by = (up - geometry[PADDING, 0] * rows) * values + left
        _scaled(target, x, gain, start, start + by, end - start)
        for plane in range(first * rows * values, last * rows * values, rows * values):
            target[plane : plane + top * values] = 0
            target[plane + bottom * values : plane + rows * values] = 0
            for row in range(plane + top * values, plane + bottom * values, values):
                for value in range(row, row + low):
                    target[value] = 0
                for value in range(row + high, row + values):
                    target[value] = 0
        return
    for i in range(first, last):
        for row in range(top, bottom):
            here = ((i - geometry[PADDING, 0]) * geometry[SIZE, 1] + row + up) * geometry[SIZE, 2]
            there = (i * rows + row) * values + low
            _scaled(target, x, gain, there, here + low + left, high - low)


@compiled()
def _scaled(target: Any, x: Any, gain: Any, to: int, at: int, n: int) -> None:
    """Write gain times n values of x from `at` on to target from `to` on."""
    size = x.itemsize
    scale(gain, x.ctypes.data + at * size, target.ctypes.data + to * size, n)


@compiled()
def present_rows(channel: Any, low: int, high: int, channels: int) -> Any:
    """Return the rows from low to high - 1 that are not maps of zeros."""
    rows = np.empty(max(0, high - low), np.int64)
    n = 0
    for row in range(low, high):
        if channel[row] < channels:
            rows[n] = row
            n += 1
    return rows[:n]
