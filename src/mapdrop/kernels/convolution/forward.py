"""The convolution, and the gradient of its input, which is one too.

For each sample it is a matrix product: output maps x terms, where a term is an input map and a tap.
A term's factor lies in the weight, its column (a value for each pixel) in the copies of its map:

    out[o, :] += sum over terms (c, tap) of weight[o, c, tap] * copies of c from tap_offsets[tap] on
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mapdrop.kernels.convolution.im2col import (
    DEPTH,
    OUT,
    Geometry,
    RowIndex,
    aligned_zeros,
    banded,
    copies_size,
    copy_map,
    present_rows,
    tap_offsets,
)
from mapdrop.kernels.convolution.microkernel import BYTES, ROWS, VECTORS, multiply
from mapdrop.kernels.jit import compiled
from mapdrop.kernels.parallel import spread

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
    planes: int,
    low: int,
    high: int,
) -> None:
    """Do tasks low to high - 1: each makes one of `parts` parts of a sample's output maps.

    It makes them band by band, `planes` planes each. `strides`: distances in the weight from one
    output, input and tap to the next, and then the numbers of outputs and inputs.
    """
    band = banded(geometry, 0, planes)
    taps, map_size = tap_offsets(band, x), copies_size(band, x)
    block = max(1, DEPTH // taps.size)
    step = planes * geometry[OUT, 1] * geometry[OUT, 2]
    columns = aligned_zeros(block * map_size, x)
    table = np.empty(block * taps.size, np.int64)
    for task in range(low, high):
        sample, part = task // parts, task % parts
        first, last = out_first[sample], out_first[sample + 1]
        size = -(-(last - first) // (parts * ROWS)) * ROWS
        first, last = first + part * size, min(last, first + (part + 1) * size)
        made = present_rows(out_channel, first, last, strides[3])
        read = present_rows(x_channel, x_first[sample], x_first[sample + 1], strides[4])
        for at in range(0, out.shape[1], step):
            band = banded(geometry, at // step * planes, planes)
            end = min(at + step, out.shape[1])
            for row in range(first, last):
                known = bias.size > 0 and out_channel[row] < strides[3]
                out[row, at:end] = bias[out_channel[row]] if known else 0
            for start in range(0, read.size, block):
                some = read[start : start + block]
                for i in range(some.size):
                    copy_map(columns[i * map_size : (i + 1) * map_size], x[some[i]], band, gain)
                _tabulate(table, x_channel[some], strides, taps, map_size, x.itemsize)
                terms = table[: some.size * taps.size]
                _accumulate(out, made, out_channel, weight, strides[0], terms, columns, at, end)
            if relu:
                for row in range(first, last):
                    line = out[row, at:end]
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
    out: Any,
    made: Any,
    channel: Any,
    weight: Any,
    stride: Any,
    table: Any,
    columns: Any,
    first: int,
    last: int,
) -> None:
    """out[made, first:last] += the sums over the terms of the table, tile by tile."""
    size = out.itemsize
    lanes = BYTES // size
    width = VECTORS * lanes
    pixels = out.shape[1]
    rows, sums = np.empty(ROWS, np.int64), np.empty(ROWS, np.int64)
    spare = np.zeros((ROWS, width), out.dtype)
    for group in range(0, made.size, _GROUP):
        for at in range(first, last, width):
            vectors = min(VECTORS, -(-(last - at) // lanes))
            for top in range(group, min(group + _GROUP, made.size), ROWS):
                there = min(ROWS, made.size - top)
                # At the edges a tile reaches beyond the output: it is summed in `spare`. Missing
                # rows repeat the last one there.
                inside = there == ROWS and at + vectors * lanes <= last
                for i in range(ROWS):
                    row = made[top + min(i, there - 1)]
                    rows[i] = weight.ctypes.data + channel[row] * stride * size
                    sums[i] = spare.ctypes.data + i * width * size
                    if inside:
                        sums[i] = out.ctypes.data + (row * pixels + at) * size
                if not inside:
                    for i in range(there):
                        line = out[made[top + i]]
                        for j in range(min(width, last - at)):
                            spare[i, j] = line[at + j]
                multiply(
                    vectors,
                    spare[0, 0],
                    rows.ctypes.data,
                    table.ctypes.data,
                    table.size,
                    columns.ctypes.data + (at - first) * size,
                    sums.ctypes.data,
                )
                if not inside:
                    for i in range(there):
                        line = out[made[top + i]]
                        for j in range(min(width, last - at)):
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
    flipped: bool,
    threads: int,
) -> None:
    """out = the convolution of gain * x, plus bias; with `relu`, negative values become 0.

    Args:
        out: (rows, pixels).
        made: the maps in the rows of out.
        x: (rows, *three axes).
        read: the maps in the rows of x.
        weight: (out, in, *kernel), contiguous, at most 2 GiB.
        bias: (out,), or empty for none.
        geometry: of the convolution.
        gain: a factor.
        relu: see above.
        flipped: whether the kernel is read from its end, as for the gradient of the input.
        threads: how many may work.
    """
    outputs, inputs, taps = weight.shape[0], weight.shape[1], int(np.prod(weight.shape[2:]))
    strides = (inputs * taps, taps, -1 if flipped else 1, outputs, inputs)
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
        geometry.band(max(1, DEPTH // taps), x.dtype.itemsize),
    )
