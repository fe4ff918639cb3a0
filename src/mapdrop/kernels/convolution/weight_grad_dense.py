"""The gradient of a convolution's weight where every sample reads every input map.

Then what a sample adds to an output's weights lies in a row, and the outputs that the sample made
are the rows of a tile: which ones is an address. (Where inputs are chosen too, neither lies in a
row, and `gradient` goes by way of a buffer; with small maps that takes as long as the
multiplications.)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mapdrop.kernels.convolution.im2col import aligned, copies, copy, distances, present
from mapdrop.kernels.convolution.microkernel import BYTES, ROWS, VECTORS, multiply, transpose
from mapdrop.kernels.jit import compiled

_PIXELS = 144  # Terms of a sum that are done at a time: a tile's columns stay in the L1 cache.


@compiled()
def gradient_of_whole(
    out: Any,
    grad: Any,
    grad_first: Any,
    grad_channel: Any,
    x: Any,
    window: Any,
    gain: Any,
    size: Any,
    low: int,
    high: int,
) -> None:
    """out[:, c], for the input maps of tasks low to high - 1, `size` of them in each.

    Args are those of `gradient`; the rows of x are its channels, a sample after the other.
    """
    outputs, inputs, n = out.shape
    taps, each = distances(window, x), copies(window, x)
    lanes = BYTES // x.itemsize
    columns = aligned(size * each, x)
    for task in range(low, high):
        c = task * size
        some = min(size, inputs - c)
        width = -(-some * n // lanes) * lanes
        starts = np.full(width, -1, np.int64)
        for i in range(some):
            for tap in range(n):
                starts[i * n + tap] = columns.ctypes.data + i * each * x.itemsize + taps[tap]
        total = np.zeros((outputs, width), x.dtype)
        turned = aligned(_PIXELS * width, x)
        for sample in range(grad_first.size - 1):
            made = present(grad_channel, grad_first[sample], grad_first[sample + 1], outputs)
            for i in range(some):
                at = columns.ctypes.data + i * each * x.itemsize
                copy(at, x[sample * inputs + c + i], window, gain)
            for pixel in range(0, grad.shape[1], _PIXELS):
                terms = min(_PIXELS, grad.shape[1] - pixel)
                _turn(turned, starts, pixel, terms)
                _add(total, turned, grad, made, grad_channel, pixel, terms)
        for o in range(outputs):
            line = out[o, c : c + some].reshape(-1)
            for i in range(line.size):
                line[i] = total[o, i]


@compiled()
def _turn(turned: Any, starts: Any, pixel: int, terms: int) -> None:
    """turned: a row for each pixel from `pixel` on, of the values at `starts`; 0 for those below 0.

    Rows behind the last may be filled with what lies behind it.
    """
    size, width = turned.itemsize, starts.size
    lanes = BYTES // size
    nothing, lines = np.zeros(_PIXELS + lanes, turned.dtype), np.empty(lanes, np.int64)
    for at in range(0, width, lanes):
        for i in range(lanes):
            start = starts[at + i]
            lines[i] = nothing.ctypes.data if start < 0 else start + pixel * size
        for k in range(0, terms, lanes):
            to = turned.ctypes.data + (k * width + at) * size
            transpose(turned[0], lines.ctypes.data, k * size, to, width * size)  # type: ignore[call-arg]


@compiled()
def _add(
    total: Any, turned: Any, grad: Any, made: Any, channel: Any, pixel: int, terms: int
) -> None:
    """total[channel of row] += row of grad x turned, for the rows in `made`."""
    size, width, pixels = total.itemsize, total.shape[1], grad.shape[1]
    lanes = BYTES // size
    rows, sums = np.empty(ROWS, np.int64), np.empty(ROWS, np.int64)
    spare, table = np.zeros((ROWS, VECTORS * lanes), total.dtype), np.empty(terms, np.int64)
    for k in range(terms):
        table[k] = (k * size << 32) | (k * width * size)
    for left in range(0, width, VECTORS * lanes):
        vectors = min(VECTORS, (width - left) // lanes)
        for top in range(0, made.size, ROWS):
            there = min(ROWS, made.size - top)
            for i in range(ROWS):
                row = made[top + min(i, there - 1)]
                rows[i] = grad.ctypes.data + (row * pixels + pixel) * size
                sums[i] = total.ctypes.data + (channel[row] * width + left) * size
                if i >= there:
                    sums[i] = spare.ctypes.data + i * VECTORS * BYTES
            multiply(
                vectors,
                total[0, 0],
                rows.ctypes.data,
                table.ctypes.data,
                terms,
                turned.ctypes.data + left * size,
                sums.ctypes.data,
            )
