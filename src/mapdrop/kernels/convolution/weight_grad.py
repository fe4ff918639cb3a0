"""The gradient of a convolution's weight."""

from __future__ import annotations

from collections.abc import Callable
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
from mapdrop.kernels.convolution.microkernel import BYTES, ROWS, VECTORS, multiply, transpose
from mapdrop.kernels.convolution.weight_grad_dense import gradient_of_whole
from mapdrop.kernels.jit import compiled
from mapdrop.kernels.parallel import spread

_PIXELS = 1024  # Of a map that are summed before the sums go where they belong.
_SUMS = 1 << 19  # Bytes of the part of the gradient that a task makes: it stays in the L2 cache.
_COPIES = 1 << 17  # Bytes of copies that are made at a time.
_WHOLE = 1 << 19  # The same where all of a task's maps are copied at once: they stay in L2.
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
    """The samples' gradients with the maps innermost: (panels, pixels, maps of a panel).

    Those of sample s begin at panel first[s]; a panel is filled up with zeros.
    """
    size, pixels, width = grad.itemsize, grad.shape[1], out.shape[2]
    lanes = BYTES // size
    nothing, lines = np.zeros(pixels, grad.dtype), np.empty(lanes, np.int64)
    even = pixels // lanes * lanes
    for sample in range(low, high):
        rows = present(grad_channel, grad_first[sample], grad_first[sample + 1], channels)
        for at in range(0, (first[sample + 1] - first[sample]) * width, lanes):
            for i in range(lanes):
                lines[i] = nothing.ctypes.data
                if at + i < rows.size:
                    lines[i] = grad.ctypes.data + rows[at + i] * pixels * size
            panel, left = first[sample] + at // width, at % width
            start = out.ctypes.data + (panel * pixels * width + left) * size
            for pixel in range(0, even, lanes):
                to = start + pixel * width * size
                transpose(nothing[0], lines.ctypes.data, pixel * size, to, width * size)  # type: ignore[call-arg]
            for pixel in range(even, pixels):
                for i in range(lanes):
                    value = grad[rows[at + i], pixel] if at + i < rows.size else 0
                    out[panel, pixel, left + i] = value


@compiled()
def _gradient(
    out: Any,
    panels: Any,
    panel_first: Any,
    grad_first: Any,
    grad_channel: Any,
    x: Any,
    x_first: Any,
    x_channel: Any,
    window: Any,
    gain: Any,
    size: Any,
    low: int,
    high: int,
) -> None:
    """out[:, c], for the input maps of tasks low to high - 1, `size` of them in each."""
    outputs, inputs, n = out.shape
    taps, each = distances(window, x), copies(window, x)
    block = max(1, min(size, _COPIES // (each * x.itemsize)))
    columns = aligned(block * each, x)
    starts, numbers = np.empty(block * n, np.int64), np.empty(block * n, np.int64)
    for task in range(low, high):
        c = task * size
        end = min(c + size, inputs)
        total = np.zeros(((end - c) * n, outputs), x.dtype)
        for sample in range(grad_first.size - 1):
            made = present(grad_channel, grad_first[sample], grad_first[sample + 1], outputs)
            read = present(x_channel, x_first[sample], x_first[sample + 1], end)
            read = read[np.searchsorted(x_channel[read], c) :]
            mine = panels[panel_first[sample] : panel_first[sample + 1]]
            for start in range(0, read.size, block):
                some = read[start : start + block]
                for i in range(some.size):
                    at = columns.ctypes.data + i * each * x.itemsize
                    copy(at, x[some[i]], window, gain)
                    for tap in range(n):
                        starts[i * n + tap] = at + taps[tap]
                        numbers[i * n + tap] = (x_channel[some[i]] - c) * n + tap
                count = some.size * n
                _add(total, mine, grad_channel[made], starts[:count], numbers[:count])
        _turn(out, total, c, end)


@compiled()
def _add(total: Any, panels: Any, ids: Any, starts: Any, numbers: Any) -> None:
    """total[numbers][:, ids] += sums over all pixels of what lies at `starts` times the panels."""
    size, pixels, width = total.itemsize, panels.shape[1], panels.shape[2]
    lanes = BYTES // size
    rows, sums = np.empty(ROWS, np.int64), np.empty(ROWS, np.int64)
    spare, table = np.zeros((ROWS, width), total.dtype), np.empty(_PIXELS, np.int64)
    for i in range(_PIXELS):
        table[i] = (i * size << 32) | (i * width * size)
    every = ids.size == total.shape[1]
    for pixel in range(0, pixels, _PIXELS):
        for panel in range(panels.shape[0]):
            some = min(width, ids.size - panel * width)
            vectors = -(-some // lanes)
            for top in range(0, starts.size, ROWS):
                there = min(ROWS, starts.size - top)
                # Where the outputs don't lie in a row, a tile goes by way of `spare`.
                straight = every and there == ROWS and some == vectors * lanes
                for i in range(ROWS):
                    at = top + min(i, there - 1)
                    rows[i] = starts[at] + pixel * size
                    sums[i] = spare.ctypes.data + i * width * size
                    if straight:
                        place = numbers[at] * total.shape[1] + panel * width
                        sums[i] = total.ctypes.data + place * size
                if not straight:
                    for i in range(there):
                        line = total[numbers[top + i]]
                        for j in range(some):
                            spare[i, j] = line[ids[panel * width + j]]
                multiply(
                    vectors,
                    spare[0, 0],
                    rows.ctypes.data,
                    table.ctypes.data,
                    min(_PIXELS, pixels - pixel),
                    panels.ctypes.data + (panel * pixels + pixel) * width * size,
                    sums.ctypes.data,
                )
                if not straight:
                    for i in range(there):
                        line = total[numbers[top + i]]
                        for j in range(some):
                            line[ids[panel * width + j]] = spare[i, j]


@compiled()
def _turn(out: Any, total: Any, low: int, high: int) -> None:
    """out[o, c, tap] = total[(c - low, tap), o], for c from low to high - 1."""
    outputs = out.shape[0]
    for start in range(0, outputs, 16):  # A cache line of the source at a time.
        for o in range(start, min(start + 16, outputs)):
            line = out[o, low:high].reshape(-1)
            for i in range(line.size):
                line[i] = total[i, o]


def gradient(
    out: Any,
    grad: Any,
    made: Maps,
    x: Any,
    read: Maps,
    window: Window,
    gain: float,
    threads: int,
    empty: Callable[[tuple[int, ...]], Any] | None = None,
) -> None:
    """out = the gradient of the weight of the convolution of gain * x.

    Args:
        out: (out, in, steps of the kernel).
        grad: of the output, (rows, pixels).
        x: (rows, *three axes).
        made, read: the maps in the rows of grad and x; of each sample by increasing channel.
        empty: makes an array of that shape and grad's type, of the size of grad; NumPy's where it
            is None.
    """
    outputs, inputs, taps = out.shape
    size = max(1, min(_SUMS // (outputs * taps * x.itemsize), -(-inputs // (_TASKS * threads))))
    if _reads_all(read, inputs) and not _reads_all(made, outputs):
        size = max(1, min(size, _WHOLE // (copies(window.numbers, x) * x.itemsize)))
        spread(
            gradient_of_whole,
            -(-inputs // size),
            threads,
            1,
            1,
            out,
            grad,
            made.first,
            made.channel,
            x,
            window.numbers,
            x.dtype.type(gain),
            size,
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
        _gradient,
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
        window.numbers,
        x.dtype.type(gain),
        size,
    )


def _reads_all(maps: Maps, channels: int) -> bool:
    """Whether each sample has every channel, and no map of zeros."""
    samples = len(maps.first) - 1
    if len(maps.channel) != samples * channels:
        return False
    return bool((maps.channel.reshape(samples, channels) == np.arange(channels)).all())
