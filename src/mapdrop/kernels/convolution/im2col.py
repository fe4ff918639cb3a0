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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapdrop.kernels.convolution.microkernel import BYTES, VECTORS, scale
from mapdrop.kernels.jit import compiled

IndexArray = NDArray[np.int64]
SIZE, OUT, KERNEL, PADDING, DILATION = range(5)  # The rows of `Geometry.array`.
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
def copy_map(out: int, x: Any, geometry: Any, gain: Any) -> None:
    """Write a map's copies, times gain, to the address `out`.

    Padding is not written: it stays zero, as `aligned_zeros` made it, for every map that is copied
    to this place.
    """
    size, copy = x.itemsize, _copy_size(geometry, x)
    before = geometry[PADDING, 0]
    rows, values = geometry[OUT, 1], geometry[OUT, 2]
    for j in range(geometry[KERNEL, 1]):
        for k in range(geometry[KERNEL, 2]):
            # Output pixel (r, v) reads the map's value (r + up, v + left).
            up = j * geometry[DILATION, 1] - geometry[PADDING, 1]
            left = k * geometry[DILATION, 2] - geometry[PADDING, 2]
            low, high = max(0, -left), min(values, geometry[SIZE, 2] - left)
            target = out + ((j * geometry[KERNEL, 2] + k) * copy + low) * size
            source = x.ctypes.data + (low + left) * size
            for i in range(max(0, before), min(_planes(geometry), geometry[SIZE, 0] + before)):
                for row in range(max(0, -up), min(rows, geometry[SIZE, 1] - up)):
                    here = ((i - before) * geometry[SIZE, 1] + row + up) * geometry[SIZE, 2]
                    there = (i * rows + row) * values
                    scale(gain, source + here * size, target + there * size, high - low)


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
