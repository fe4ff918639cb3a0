"""The gradient of a convolution's weight if every sample reads every input map.

Then the sums of an output, over all of a task's input maps and taps, are neighbours in memory:

    total[o, (c, tap)] += sum over pixels of grad[o, pixel] * column of (c, tap)[pixel]

The columns are transposed, so that taps are innermost, and the outputs that a sample made are the
tile's rows, read by address. (If input maps are chosen too, the sums are not neighbours, and
`weight_grad` needs a buffer. With small maps that takes as long as the multiplications.)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mapdrop.kernels.convolution.im2col import (
    OUT,
    aligned_zeros,
    banded,
    copies_size,
    copy_map,
    present_rows,
    tap_offsets,
)
from mapdrop.kernels.convolution.microkernel import BYTES, ROWS, VECTORS, multiply, transpose
from mapdrop.kernels.jit import compiled

_PIXELS = 144  # Terms of a sum that are done at a time: a tile's columns stay in the L1 cache.


@compiled()
def weight_grad_dense(
    out: Any,
    grad: Any,
    grad_first: Any,
    grad_channel: Any,
    x: Any,
    geometry: Any,
    gain: Any,
    size: Any,
    planes: int,
    low: int,
    high: int,
) -> None:
    """Write out[:, c] for the input maps c of tasks low to high - 1, `size` maps each.

    `planes` planes of the output are done at a time. The other arguments are those of
    `weight_grad`. The rows of x are all channels, sample after sample.
    """
    outputs, inputs, n = out.shape
    band = banded(geometry, 0, planes)
    taps, map_size = tap_offsets(band, x), copies_size(band, x)
    step = planes * geometry[OUT, 1] * geometry[OUT, 2]
    lanes = BYTES // x.itemsize
    columns = aligned_zeros(size * map_size, x)
    for task in range(low, high):
        c = task * size
        some = min(size, inputs - c)
        width = -(-some * n // lanes) * lanes
        starts = np.full(width, -1, np.int64)
        for i in range(some):
            for tap in range(n):
                starts[i * n + tap] = columns.ctypes.data + i * map_size * x.itemsize + taps[tap]
        total = np.zeros((outputs, width), x.dtype)
        transposed = aligned_zeros(_PIXELS * width, x)
        for sample in range(grad_first.size - 1):
            made = present_rows(grad_channel, grad_first[sample], grad_first[sample + 1], outputs)
            for first in range(0, grad.shape[1], step):
                band = banded(geometry, first // step * planes, planes)
                last = min(first + step, grad.shape[1])
                for i in range(some):
                    target = columns[i * map_size : (i + 1) * map_size]
                    copy_map(target, x[sample * inputs + c + i], band, gain)
                for pixel in range(first, last, _PIXELS):
                    terms = min(_PIXELS, last - pixel)
                    _transpose(transposed, starts, pixel - first, terms)
                    _accumulate_columns(total, transposed, grad, made, grad_channel, pixel, terms)
        for o in range(outputs):
            line = out[o, c : c + some].reshape(-1)
            for i in range(line.size):
                line[i] = total[o, i]


@compiled()
def _transpose(out: Any, starts: Any, pixel: int, terms: int) -> None:
    """Write a row for each of `terms` pixels from `pixel` on: the columns' values there.

    `starts` are the addresses of the columns; a negative one stands for a column of zeros. Rows
    after the last, up to the next multiple of a vector, may get any values.
    """
    size, width = out.itemsize, starts.size
    lanes = BYTES // size
    zeros, lines = np.zeros(_PIXELS + lanes, out.dtype), np.empty(lanes, np.int64)
    for at in range(0, width, lanes):
        for i in range(lanes):
            start = starts[at + i]
            lines[i] = zeros.ctypes.data if start < 0 else start + pixel * size
        for k in range(0, terms, lanes):
            to = out.ctypes.data + (k * width + at) * size
            transpose(out[0], lines.ctypes.data, k * size, to, width * size)


@compiled()
def _accumulate_columns(
    total: Any, columns: Any, grad: Any, made: Any, channel: Any, pixel: int, terms: int
) -> None:
    """total[channel of row] += row of grad x columns, for the rows in `made`."""
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
                columns.ctypes.data + left * size,
                sums.ctypes.data,
            )
