"""The gradient of a convolution's weight.

For an input map and a tap it is, for every output, a sum over the pixels of all samples:

    out[o, c, tap] += sum over pixels of grad[o, pixel] * column of (c, tap)[pixel]

The kernel wants the outputs innermost. So the gradient is transposed first, to panels of as many
maps as a tile has columns, and the sums are kept as total[(c, tap), o] until a task is done.
"""

from __future__ import annotations

from collections.abc import Callable
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
from mapdrop.kernels.convolution.microkernel import (
    BYTES,
    ROWS,
    VECTORS,
    multiply,
    scatter_add,
    transpose,
)
from mapdrop.kernels.convolution.weight_grad_dense import weight_grad_dense
from mapdrop.kernels.jit import compiled
from mapdrop.kernels.parallel import spread

_PIXELS = 1024  # Pixels that a tile sums before its sums are stored.
_SUMS = 1 << 19  # Bytes of the part of the gradient that a task makes: it stays in the L2 cache.
_LEAST = (
    64  # Input maps x taps of a task, if there are enough: each task reads all of the gradient.
)
_TASKS = 4  # For each thread at least, if there are enough input maps.


@compiled()
def _panels(
    out: Any,
    first: Any,
    grad: Any,
    grad_first: Any,
    grad_channel: Any,
    channels: int,
    low: int,
    high: int,
) -> None:
    """Transpose the gradients of samples low to high - 1: (panels, pixels, maps of a panel).

    The panels of sample s begin at first[s]. Its last panel is padded with zeros.
    """
    size, pixels, width = grad.itemsize, grad.shape[1], out.shape[2]
    lanes = BYTES // size
    zeros, lines = np.zeros(pixels, grad.dtype), np.empty(lanes, np.int64)
    even = pixels // lanes * lanes
    for sample in range(low, high):
        rows = present_rows(grad_channel, grad_first[sample], grad_first[sample + 1], channels)
        for at in range(0, (first[sample + 1] - first[sample]) * width, lanes):
            for i in range(lanes):
                lines[i] = zeros.ctypes.data
                if at + i < rows.size:
                    lines[i] = grad.ctypes.data + rows[at + i] * pixels * size
            panel, left = first[sample] + at // width, at % width
            start = out.ctypes.data + (panel * pixels * width + left) * size
            for pixel in range(0, even, lanes):
                to = start + pixel * width * size
                transpose(zeros[0], lines.ctypes.data, pixel * size, to, width * size)
            for pixel in range(even, pixels):
                for i in range(lanes):
                    value = grad[rows[at + i], pixel] if at + i < rows.size else 0
                    out[panel, pixel, left + i] = value


@compiled()
def _weight_grad(
    out: Any,
    panels: Any,
    panel_first: Any,
    grad_first: Any,
    grad_channel: Any,
    x: Any,
    x_first: Any,
    x_channel: Any,
    geometry: Any,
    gain: Any,
    size: Any,
    block: int,
    planes: int,
    low: int,
    high: int,
) -> None:
    """Write out[:, c] for the input maps c of tasks low to high - 1, `size` maps each.

    `block` maps, and `planes` planes of the output, are done at a time.
    """
    outputs, inputs, n = out.shape
    band = banded(geometry, 0, planes)
    taps, map_size = tap_offsets(band, x), copies_size(band, x)
    pixels, step = panels.shape[1], planes * geometry[OUT, 1] * geometry[OUT, 2]
    columns = aligned_zeros(block * map_size, x)
    starts, numbers = np.empty(block * n, np.int64), np.empty(block * n, np.int64)
    for task in range(low, high):
        c = task * size
        end = min(c + size, inputs)
        total = np.zeros(((end - c) * n, outputs), x.dtype)
        for sample in range(grad_first.size - 1):
            made = present_rows(grad_channel, grad_first[sample], grad_first[sample + 1], outputs)
            read = present_rows(x_channel, x_first[sample], x_first[sample + 1], end)
            read = read[np.searchsorted(x_channel[read], c) :]
            own_panels = panels[panel_first[sample] : panel_first[sample + 1]]
            for first in range(0, pixels, step):
                band = banded(geometry, first // step * planes, planes)
                last = min(first + step, pixels)
                for start in range(0, read.size, block):
                    some = read[start : start + block]
                    for i in range(some.size):
                        target = columns[i * map_size : (i + 1) * map_size]
                        copy_map(target, x[some[i]], band, gain)
                        for tap in range(n):
                            starts[i * n + tap] = target.ctypes.data + taps[tap]
                            numbers[i * n + tap] = (x_channel[some[i]] - c) * n + tap
                    count = some.size * n
                    _accumulate_panels(
                        total,
                        own_panels[:, first:last],
                        pixels,
                        grad_channel[made],
                        starts[:count],
                        numbers[:count],
                    )
        _transpose_back(out, total, c, end)


@compiled()
def _accumulate_panels(
    total: Any, panels: Any, stride: int, ids: Any, starts: Any, numbers: Any
) -> None:
    """total[numbers][:, ids] += the sums over all pixels of columns times panels.

    Args:
        total: (input maps and taps, outputs).
        panels: of one sample, some pixels of the `stride` that each panel has.
        ids: the outputs in the panels.
        starts: the addresses of the columns of pixels.
        numbers: the row of total that each column belongs to.
    """
    size, pixels, width = total.itemsize, panels.shape[1], panels.shape[2]
    outputs, lanes = total.shape[1], BYTES // size
    # A tile is summed apart, because its outputs need not be neighbours in `total`. If it has too
    # few rows, the last one is repeated, and its sums are added to what nobody reads.
    tile, unread = np.empty((ROWS, width), total.dtype), np.zeros((ROWS, outputs), total.dtype)
    rows, lines = np.empty(ROWS, np.int64), np.empty(ROWS, np.int64)
    sums = np.array([tile[i].ctypes.data for i in range(ROWS)])
    table, offsets = np.empty(_PIXELS, np.int64), ids * size
    for i in range(_PIXELS):
        table[i] = (i * size << 32) | (i * width * size)
    for pixel in range(0, pixels, _PIXELS):
        for panel in range(panels.shape[0]):
            some = min(width, ids.size - panel * width)
            for top in range(0, starts.size, ROWS):
                there = min(ROWS, starts.size - top)
                for i in range(ROWS):
                    at = top + min(i, there - 1)
                    rows[i] = starts[at] + pixel * size
                    lines[i] = total.ctypes.data + numbers[at] * outputs * size
                for i in range(there, ROWS):
                    lines[i] = unread.ctypes.data + i * outputs * size
                tile[:] = 0
                multiply(
                    -(-some // lanes),
                    tile[0, 0],
                    rows.ctypes.data,
                    table.ctypes.data,
                    min(_PIXELS, pixels - pixel),
                    panels.ctypes.data + (panel * stride + pixel) * width * size,
                    sums.ctypes.data,
                )
                scatter_add(
                    tile[0, 0],
                    lines.ctypes.data,
                    offsets.ctypes.data + panel * width * offsets.itemsize,
                    some,
                    tile.ctypes.data,
                    width * size,
                )


@compiled()
def _transpose_back(out: Any, total: Any, low: int, high: int) -> None:
    """out[o, c, tap] = total[(c - low, tap), o], for c from low to high - 1."""
    outputs = out.shape[0]
    for start in range(0, outputs, 16):  # One cache line of the source at a time.
        for o in range(start, min(start + 16, outputs)):
            line = out[o, low:high].reshape(-1)
            for i in range(line.size):
                line[i] = total[i, o]


def weight_grad(
    out: Any,
    grad: Any,
    made: RowIndex,
    x: Any,
    read: RowIndex,
    geometry: Geometry,
    gain: float,
    threads: int,
    empty: Callable[[tuple[int, ...]], Any] | None = None,
) -> None:
    """out = the gradient of the weight of the convolution of gain * x.

    Args:
        out: (out, in, taps).
        grad: of the output, (rows, pixels).
        made: the maps in the rows of grad, of each sample by increasing channel.
        x: (rows, *three axes).
        read: the maps in the rows of x, of each sample by increasing channel.
        geometry: of the convolution.
        gain: a factor.
        threads: how many may work.
        empty: makes an array of a shape and of grad's type, about as large as grad; None for
            NumPy's.
    """
    outputs, inputs, taps = out.shape
    size = min(_SUMS // (outputs * taps * x.itemsize), -(-inputs // (_TASKS * threads)))
    size = max(1, size, min(-(-_LEAST // taps), -(-inputs // threads)))
    block = max(1, DEPTH // taps)
    planes = geometry.band(block, x.dtype.itemsize)  # The same whatever the number of threads.
    if _reads_all(read, inputs) and not _reads_all(made, outputs):
        size = min(size, block)
        spread(
            weight_grad_dense,
            -(-inputs // size),
            threads,
            1,
            1,
            out,
            grad,
            made.first,
            made.channel,
            x,
            geometry.array,
            x.dtype.type(gain),
            size,
            planes,
        )
        return
    width = VECTORS * BYTES // grad.itemsize
    there = np.concatenate([[0], np.cumsum(made.channel < outputs)])[made.first]
    first = np.concatenate([[0], np.cumsum(-(-np.diff(there) // width))])
    shape = (int(first[-1]), grad.shape[1], width)
    panels = np.empty(shape, grad.dtype) if empty is None else empty(shape)
    samples = len(first) - 1
    spread(_panels, samples, threads, 1, 1, panels, first, grad, made.first, made.channel, outputs)
    spread(
        _weight_grad,
        -(-inputs // size),
        threads,
        1,
        1,
        out,
        panels,
        first,
        made.first,
        made.channel,
        x,
        read.first,
        read.channel,
        geometry.array,
        x.dtype.type(gain),
        size,
        min(size, block),
        planes,
    )


def _reads_all(maps: RowIndex, channels: int) -> bool:
    """Return whether each sample has every channel, and no map of zeros."""
    samples = len(maps.first) - 1
    if len(maps.channel) != samples * channels:
        return False
    return bool((maps.channel.reshape(samples, channels) == np.arange(channels)).all())
