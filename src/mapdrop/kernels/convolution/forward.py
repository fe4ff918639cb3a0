"""The convolution itself, and the gradient of its input, which is one too."""

from __future__ import annotations

from typing import Any

import numpy as np

from mapdrop.kernels.convolution.im2col import (
    Maps,
    Window,
    aligned,
    copies,
    copy,
    distances,
    present,
)
from mapdrop.kernels.convolution.microkernel import BYTES, ROWS, VECTORS, multiply
from mapdrop.kernels.jit import compiled
from mapdrop.kernels.parallel import spread

DEPTH = 144  # Terms of a sum that are done at a time: they and their columns stay in the L1 cache.
_GROUP = 48  # Output maps that are done at a time, for the same reason.
_TASKS = 4  # For each thread at least, if there are enough output maps.


@compiled()
def _product(
    out: Any,
    out_first: Any,
    out_channel: Any,
    x: Any,
    x_first: Any,
    x_channel: Any,
    weight: Any,
    steps: Any,
    bias: Any,
    window: Any,
    gain: Any,
    relu: Any,
    parts: Any,
    low: int,
    high: int,
) -> None:
    """Tasks low to high - 1; each makes one of `parts` parts of a sample's output maps.

    `steps`: distances in the weight between outputs, between inputs and between steps of the
    kernel, and how many outputs and inputs there are.
    """
    taps, each = distances(window, x), copies(window, x)
    block = max(1, DEPTH // taps.size)
    columns = aligned(block * each, x)
    table = np.empty(block * taps.size, np.int64)
    for task in range(low, high):
        sample, part = task // parts, task % parts
        first, last = out_first[sample], out_first[sample + 1]
        size = -(-(last - first) // (parts * ROWS)) * ROWS
        first, last = first + part * size, min(last, first + (part + 1) * size)
        for row in range(first, last):
            known = bias.size > 0 and out_channel[row] < steps[3]
            out[row] = bias[out_channel[row]] if known else 0
        made = present(out_channel, first, last, steps[3])
        read = present(x_channel, x_first[sample], x_first[sample + 1], steps[4])
        for start in range(0, read.size, block):
            some = read[start : start + block]
            for i in range(some.size):
                copy(columns.ctypes.data + i * each * x.itemsize, x[some[i]], window, gain)
            _tabulate(table, x_channel[some], steps, taps, each, x.itemsize)
            _accumulate(
                out, made, out_channel, weight, steps[0], table, some.size * taps.size, columns
            )
        if relu:
            for row in range(first, last):
                line = out[row]
                for i in range(line.size):
                    line[i] = 0 if line[i] < 0 else line[i]  # A NaN stays.


@compiled()
def _tabulate(table: Any, channel: Any, steps: Any, taps: Any, each: int, size: int) -> None:
    """For each term of the sums where its factor is in the weight, and where its column is."""
    for i in range(channel.size):
        at = steps[1] * channel[i]
        if steps[2] < 0:
            at -= steps[2] * (taps.size - 1)
        for tap in range(taps.size):
            down = (at + tap * steps[2]) * size
            table[i * taps.size + tap] = (down << 32) | (i * each * size + taps[tap])


@compiled()
def _accumulate(
    out: Any, made: Any, channel: Any, weight: Any, step: Any, table: Any, n: int, columns: Any
) -> None:
    """out[made] += the sums of the table's terms."""
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
                # At the edges a tile reaches beyond the output, and goes by way of `spare`.
                whole = there == ROWS and at + vectors * lanes <= pixels
                for i in range(ROWS):
                    row = made[top + min(i, there - 1)]
                    rows[i] = weight.ctypes.data + channel[row] * step * size
                    sums[i] = spare.ctypes.data + i * width * size
                    if whole:
                        sums[i] = out.ctypes.data + (row * pixels + at) * size
                if not whole:
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
                if not whole:
                    for i in range(there):
                        line = out[made[top + i]]
                        for j in range(min(width, pixels - at)):
                            line[at + j] = spare[i, j]


def product(
    out: Any,
    made: Maps,
    x: Any,
    read: Maps,
    weight: Any,
    bias: Any,
    window: Window,
    gain: float,
    relu: bool,
    transposed: bool,
    threads: int,
) -> None:
    """out = the convolution of gain * x, plus bias; then its negative values become 0.

    Args:
        out: (rows, pixels).
        x: (rows, *three axes).
        made, read: the maps in the rows of out and x.
        weight: (out, in, *kernel), contiguous, at most 2 GiB. With `transposed`, in belongs to
            `made`, out to `read`, and the kernel is reversed, as the input's gradient needs it.
        bias: (out,) or of no entry.
    """
    outputs, inputs, taps = weight.shape[0], weight.shape[1], int(np.prod(weight.shape[2:]))
    steps = (inputs * taps, taps, 1, outputs, inputs)
    if transposed:
        steps = (taps, inputs * taps, -1, inputs, outputs)
    samples = len(made.first) - 1
    parts = 1
    if threads > 1 and samples:
        most = max(1, len(made.channel) // (samples * ROWS))
        parts = min(most, -(-_TASKS * threads // samples))
    spread(
        _product,
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
        np.array(steps, np.int64),
        bias,
        window.numbers,
        x.dtype.type(gain),
        relu,
        parts,
    )
