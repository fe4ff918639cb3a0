"""The convolution, and the gradient of its input, which is one too.

For each sample it is a matrix product: output maps x terms, where a term is an input map and a tap.
A term's factor lies in the weight, its column (a value for each pixel) in the copies of its map:

    out[o, :] += sum over terms (c, tap) of weight[o, c, tap] * copies of c from tap_offsets[tap] on
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mapdrop.kernels.convolution.im2col import (
    Geometry,
    RowIndex,
    aligned_zeros,
    copies_size,
    copy_map,
    present_rows,
    tap_offsets,
)
from mapdrop.kernels.convolution.microkernel import BYTES, ROWS, VECTORS, multiply
from mapdrop.kernels.jit import compiled
from mapdrop.kernels.parallel import spread

DEPTH = 144  # Terms of a sum that are done at a time: they and their columns stay in the L1 cache.
_GROUP = 48  # Output maps that are done at a time, for the same reason.
_TASKS = 4  # For each thread at least, if there are enough output maps.


@compiled()
def _convolve(
    out: Any,
    out_first: Any,
    out_channel: Any,
    x: Any,
    x_first: Any,
    x_channel: Any,
    weight: Any,
    strides: Any,
    bias: Any,
    geometry: Any,
    gain: Any,
    relu: Any,
    parts: Any,
    low: int,
    high: int,
) -> None:
    """Do tasks low to high - 1: each makes one of `parts` parts of a sample's output maps.

    `strides`: distances in the weight from one output, input and tap to the next, and then the
    numbers of outputs and inputs.
    """
    taps, map_size = tap_offsets(geometry, x), copies_size(geometry, x)
    block = max(1, DEPTH // taps.size)
    columns = aligned_zeros(block * map_size, x)
    table = np.empty(block * taps.size, np.int64)
    for task in range(low, high):
        sample, part = task // parts, task % parts
        first, last = out_first[sample], out_first[sample + 1]
        size = -(-(last - first) // (parts * ROWS)) * ROWS
        first, last = first + part * size, min(last, first + (part + 1) * size)
        for row in range(first, last):
            known = bias.size > 0 and out_channel[row] < strides[3]
            out[row] = bias[out_channel[row]] if known else 0
        made = present_rows(out_channel, first, last, strides[3])
        read = present_rows(x_channel, x_first[sample], x_first[sample + 1], strides[4])
        for start in range(0, read.size, block):
            some = read[start : start + block]
            for i in range(some.size):
                target = columns.ctypes.data + i * map_size * x.itemsize
                copy_map(target, x[some[i]], geometry, gain)
            _tabulate(table, x_channel[some], strides, taps, map_size, x.itemsize)
            terms = some.size * taps.size
            _accumulate(out, made, out_channel, weight, strides[0], table, terms, columns)
        if relu:
            for row in range(first, last):
                line = out[row]
                for i in range(line.size):
                    line[i] = 0 if line[i] < 0 else line[i]  # A NaN stays.


@compiled()
def _tabulate(table: Any, channel: Any, strides: Any, taps: Any, map_size: Any, size: int) -> None:
    """Write the table of terms: for the i-th channel and each tap, two distances in bytes.

        bits 63..32                              bits 31..0
        of its factor, from the output's         of its column, from the first
        first one in the weight                  value of `columns`

    A negative tap stride reads the kernel from its end.
    """
    for i in range(channel.size):
        at = strides[1] * channel[i]
        if strides[2] < 0:
            at -= strides[2] * (taps.size - 1)
        for tap in range(taps.size):
            down = (at + tap * strides[2]) * size
            table[i * taps.size + tap] = (down << 32) | (i * map_size * size + taps[tap])


@compiled()
def _accumulate(
    out: Any, made: Any, channel: Any, weight: Any, stride: Any, table: Any, n: int, columns: Any
) -> None:
    """out[made] += the sums over the first n terms of the table, tile by tile."""
    size = out.itemsize
    lanes = BYTES // size
    width, pixels = VECTORS * lanes, out.shape[1]
    rows, sums = np.empty(ROWS, np.int64), np.empty(ROWS, np.int64)
    spare = np.zeros((ROWS, width), out.dtype)
    for group in range(0, made.size, _GROUP):
        for at in range(0, pixels, width):
            vectors = min(VECTORS, -(-(pixels - at) // lanes))
            for top in range(group, min(group + _GROUP, made.size), ROWS):
                there = min(ROWS, made.size - top)
                # At the edges a tile reaches beyond the output: it is summed in `spare`. Missing
                # rows repeat the last one there.
                inside = there == ROWS and at + vectors * lanes <= pixels
                for i in range(ROWS):
                    row = made[top + min(i, there - 1)]
                    rows[i] = weight.ctypes.data + channel[row] * stride * size
                    sums[i] = spare.ctypes.data + i * width * size
                    if inside:
                        sums[i] = out.ctypes.data + (row * pixels + at) * size
                if not inside:
                    for i in range(there):
                        line = out[made[top + i]]
                        for j in range(min(width, pixels - at)):
                            spare[i, j] = line[at + j]
                multiply(
                    vectors,
                    spare[0, 0],
                    rows.ctypes.data,
                    table.ctypes.data,
                    n,
                    columns.ctypes.data + at * size,
                    sums.ctypes.data,
                )
                if not inside:
                    for i in range(there):
                        line = out[made[top + i]]
                        for j in range(min(width, pixels - at)):
                            line[at + j] = spare[i, j]


def convolve(
    out: Any,
    made: RowIndex,
    x: Any,
    read: RowIndex,
    weight: Any,
    bias: Any,
    geometry: Geometry,
    gain: float,
    relu: bool,
    transposed: bool,
    threads: int,
) -> None:
    """out = the convolution of gain * x, plus bias; with `relu`, negative values become 0.

    Args:
        out: (rows, pixels).
        made: the maps in the rows of out.
        x: (rows, *three axes).
        read: the maps in the rows of x.
        weight: (out, in, *kernel), contiguous, at most 2 GiB. With `transposed`, its second axis
            belongs to `made`, its first to `read`, and the kernel is reversed: this makes the
            gradient of the input.
        bias: (out,), or empty for none.
        geometry: of the convolution.
        gain: a factor.
        relu: see above.
        transposed: see `weight`.
        threads: how many may work.
    """
    outputs, inputs, taps = weight.shape[0], weight.shape[1], int(np.prod(weight.shape[2:]))
    strides = (inputs * taps, taps, 1, outputs, inputs)
    if transposed:
        strides = (taps, inputs * taps, -1, inputs, outputs)
    samples = len(made.first) - 1
    parts = 1
    if threads > 1 and samples:
        most = max(1, len(made.channel) // (samples * ROWS))
        parts = min(most, -(-_TASKS * threads // samples))
    spread(
        _convolve,
        samples * parts,
        threads,
        1,
        1,
        out,
        made.first,
        made.channel,
        x,
        read.first,
        read.channel,
        weight.reshape(-1),
        np.array(strides, np.int64),
        bias,
        geometry.array,
        x.dtype.type(gain),
        relu,
        parts,
    )
