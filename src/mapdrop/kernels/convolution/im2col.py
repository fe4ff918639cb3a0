"""What a convolution reads: some maps, each copied so that a step of the kernel is a distance.

A map is copied once for each step along the kernel's inner axes; along the outermost one a step
moves all values by the same distance and needs no copy (Cho and Brand 2017, "MEC", arXiv
1706.06873). Maps have three axes here; those missing are of size 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapdrop.kernels.convolution.microkernel import BYTES, VECTORS, scale
from mapdrop.kernels.jit import compiled

Ids = NDArray[np.int64]
_LINE = 64  # Bytes of a cache line. A vector that lies across two takes twice as long to load.


@dataclass(frozen=True)
class Maps:
    """Which maps lie in a packed array.

    Rows `first[s]` to `first[s + 1]` - 1 are those of sample s; how many rows there are comes last.
    `channel` has each row's; a number that is no channel's marks a map of zeros.
    """

    first: Ids
    channel: Ids


@dataclass(frozen=True)
class Window:
    """A convolution's sizes and settings, of three axes each."""

    size: tuple[int, int, int]
    out: tuple[int, int, int]
    kernel: tuple[int, int, int]
    padding: tuple[int, int, int]  # Before the first value; may be negative.
    dilation: tuple[int, int, int]

    @property
    def back(self) -> Window:
        """Of the gradient of its input: a convolution of the output's, with the kernel reversed."""
        axes = zip(self.dilation, self.kernel, self.padding, strict=True)
        first, second, third = (d * (k - 1) - p for d, k, p in axes)
        return Window(self.out, self.size, self.kernel, (first, second, third), self.dilation)

    @property
    def numbers(self) -> Ids:
        """As the compiled code reads it."""
        return np.array([self.size, self.out, self.kernel, self.padding, self.dilation], np.int64)


@compiled()
def aligned(n: int, like: Any) -> Any:
    """Zeros from the start of a cache line on, n and what a tile reads beyond its last column."""
    line, beyond = _LINE // like.itemsize, VECTORS * BYTES // like.itemsize
    array = np.zeros(n + beyond + line, like.dtype)
    skip = (-array.ctypes.data) % _LINE // like.itemsize
    return array[skip : skip + n + beyond]


@compiled()
def _length(window: Any) -> int:
    """Of a copy along the outermost axis."""
    return int(window[1, 0] + window[4, 0] * (window[2, 0] - 1))


@compiled()
def _plane(window: Any, like: Any) -> Any:
    """Values of one copy, up to the end of a cache line."""
    line = _LINE // like.itemsize
    return -(-_length(window) * window[1, 1] * window[1, 2] // line) * line


@compiled()
def copies(window: Any, like: Any) -> Any:
    """Values of all copies of a map."""
    return window[2, 1] * window[2, 2] * _plane(window, like)


@compiled()
def distances(window: Any, like: Any) -> Any:
    """For each step of the kernel, where it begins in a map's copies, in bytes."""
    found = np.empty(window[2, 0] * window[2, 1] * window[2, 2], np.int64)
    plane = _plane(window, like)
    row = window[4, 0] * window[1, 1] * window[1, 2]
    at = 0
    for i in range(window[2, 0]):
        for j in range(window[2, 1]):
            for k in range(window[2, 2]):
                found[at] = ((j * window[2, 2] + k) * plane + i * row) * like.itemsize
                at += 1
    return found


@compiled()
def copy(out: int, x: Any, window: Any, gain: Any) -> None:
    """A map's copies, times gain, at an address. Places outside the map stay as they are."""
    size, plane = x.itemsize, _plane(window, x)
    before = window[3, 0]
    rows, values = window[1, 1], window[1, 2]
    for j in range(window[2, 1]):
        for k in range(window[2, 2]):
            up, left = j * window[4, 1] - window[3, 1], k * window[4, 2] - window[3, 2]
            low, high = max(0, -left), min(values, window[0, 2] - left)
            target = out + ((j * window[2, 2] + k) * plane + low) * size
            source = x.ctypes.data + (low + left) * size
            for i in range(max(0, before), min(_length(window), window[0, 0] + before)):
                for row in range(max(0, -up), min(rows, window[0, 1] - up)):
                    here = ((i - before) * window[0, 1] + row + up) * window[0, 2]
                    there = (i * rows + row) * values
                    scale(gain, source + here * size, target + there * size, high - low)  # type: ignore[call-arg]


@compiled()
def present(channel: Any, low: int, high: int, channels: int) -> Any:
    """The rows from low to high - 1 that are not maps of zeros."""
    found = np.empty(max(0, high - low), np.int64)
    n = 0
    for row in range(low, high):
        if channel[row] < channels:
            found[n] = row
            n += 1
    return found[:n]
