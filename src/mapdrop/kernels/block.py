"""Masks whose coins fall in blocks, compiled for the CPU by Numba.

A unit of work is some thousand coins, of which no block reaches another unit: they are drawn, and
blocks fall along one axis after the other, before they leave the cache.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapdrop.kernels.cpu import GRAIN, arrays, by_fours
from mapdrop.kernels.jit import compiled
from mapdrop.kernels.parallel import spread
from mapdrop.kernels.philox import BLOCKS, TILE, U32, U64, draw, draw_strided
from mapdrop.spec.law import BlockAxis, Loops, merged, strides
from mapdrop.spec.numpy_coins import Bits

Axis = tuple[int, int, int, int, int]
"""(length, step in memory, size of a block, first and last place of a centre)"""

_UNIT = 1 << 12  # Coins in a unit of work, where its axes are short enough.
_STRIP = 256  # Columns in a unit of work along an axis whose coins lie far apart:
_FAR = 1 << 14  # one whose lines span more coins.
_STRIDE = 128  # Bytes that a vectorised loop takes at once. A rest it takes one by one.


@compiled()
def _in_order(coins: Any, number: int, tile: Any, key: Any, step: Any, limit: Any) -> None:
    """Draw consecutive coins from `number` on: 1 where the word is at least `limit`."""
    at = 0
    while at < coins.size:
        skip = (number + at) & 3
        draw(tile, U64((number + at) >> 2), key, step)
        n = min(TILE - skip, coins.size - at)
        part, words = coins[at : at + n], tile[skip : skip + n]
        for j in range(n):
            part[j] = words[j] >= limit
        at += n


@compiled()
def _four_rows(coins: Any, base: int, gap: Any, tile: Any, key: Any, step: Any, limit: Any) -> None:
    """Draw four rows of coins, of which each Philox block has one of each row."""
    inner = coins.size // 4
    for left in range(0, inner, BLOCKS):
        n = min(BLOCKS, inner - left)
        draw_strided(tile, U64(base) + U64(left) * gap, gap, key, step, n)
        for lane in range(4):
            at = lane * inner + left
            part, words = coins[at : at + n], tile[lane * BLOCKS : lane * BLOCKS + n]
            for j in range(n):
                part[j] = words[j] >= limit


@compiled()
def _fours(
    coins: Any, start: int, tile: Any, key: Any, step: Any, limit: Any, sizes: Any, steps: Any
) -> None:
    """Draw the coins from place `start` of the loops on, four rows at once."""
    size, gap = 4 * sizes[-1], U64(steps[-1] >> 2)
    for at in range(0, coins.size, size):
        row = (start + at) // size
        base, rest = row % (sizes[-2] >> 2), row // (sizes[-2] >> 2)
        for axis in range(sizes.size - 3, -1, -1):
            base += rest % sizes[axis] * (steps[axis] >> 2)
            rest //= sizes[axis]
        _four_rows(coins[at : at + size], base, gap, tile, key, step, limit)


@compiled()
def _all_of(padded: Any, k: int, gap: int, size: int, one: Any, two: Any) -> Any:
    """Return for `size` coins whether each and the k - 1 after it, `gap` apart, are all kept.

    It is found for two coins, for four and so on, by turns in `one` and `two`.
    """
    source, width = padded, 1
    while width < k:
        more = min(width, k - width)
        ahead = source[more * gap :]
        for j in range((size + (k - width) * gap + _STRIDE - 1) // _STRIDE * _STRIDE):
            one[j] = source[j] & ahead[j]
        source, one, two = one, two, one
        width += more
    return source


@compiled()
def _erode(coins: Any, axis: Any, outside: Any, padded: Any, one: Any, two: Any) -> None:
    """Keep the coins of whole lines along an axis that no block around a dropped centre covers.

    A block reaches k // 2 before its centre and `before` places after it. With so many ones put
    before a line, a coin is kept if the k coins from its own place on are: see `_all_of`.

    `outside` is 1 where no centre may lie, and `padded` is 1 wherever no line comes to lie.
    """
    n, inner, k, first, last = axis
    before = k - 1 - k // 2
    stays = first >= k // 2 and last + before < n
    # Where no block reaches beyond its line, lines need no ones between them: all are as one.
    run = coins.size if stays else n * inner
    pitch = run + (k - 1) * inner
    lines = coins.size // run
    for line in range(lines):
        at = line * pitch + before * inner
        centres, own = padded[at : at + run], coins[line * run : (line + 1) * run]
        for j in range(run):
            centres[j] = own[j] | outside[j]
    eroded = _all_of(padded, k, inner, lines * pitch, one, two)
    for line in range(lines):
        made, own = eroded[line * pitch :], coins[line * run : (line + 1) * run]
        for j in range(run):
            own[j] = made[j]


@compiled()
def _erode_strips(
    out: Any, n: int, inner: int, k: int, first: int, last: int, low: int, high: int
) -> None:
    """Do the same along an axis whose coins lie far apart.

    A unit of work is a strip of a line: some neighbouring columns, which stay in the cache.
    """
    strips = (inner + _STRIP - 1) // _STRIP
    room = (n + k) * _STRIP
    padded, one, two = np.ones(room, np.uint8), np.ones(room, np.uint8), np.ones(room, np.uint8)
    for unit in range(low, high):
        left = unit % strips * _STRIP
        start, width = unit // strips * n * inner + left, min(_STRIP, inner - left)
        for place in range(first, last + 1):
            at, to = start + place * inner, (place + k - 1 - k // 2) * _STRIP
            centres, own = padded[to : to + width], out[at : at + width]
            for j in range(width):
                centres[j] = own[j]
        eroded = _all_of(padded, k, _STRIP, n * _STRIP, one, two)
        for place in range(n):
            at, to = start + place * inner, place * _STRIP
            made, own = eroded[to : to + width], out[at : at + width]
            for j in range(width):
                own[j] = made[j]


@compiled()
def _blocks(
    out: Any,
    size: int,
    key: Any,
    step: Any,
    limit: Any,
    sizes: Any,
    steps: Any,
    axes: Any,
    outside: Any,
    room: int,
    low: int,
    high: int,
) -> None:
    """Write the mask of units of `size` coins, in the order of the loops."""
    tile = np.empty(TILE, U32)
    padded = np.ones((axes.shape[0], room), np.uint8)
    one, two = np.ones(room, np.uint8), np.ones(room, np.uint8)
    for unit in range(low, high):
        start = unit * size
        coins = out[start : min(start + size, out.size)]
        if steps[-1] == 1:
            _in_order(coins, start, tile, key, step, limit)
        else:
            _fours(coins, start, tile, key, step, limit, sizes, steps)
        for a in range(axes.shape[0]):
            _erode(coins, axes[a], outside[a], padded[a], one, two)


def kept(
    sizes: tuple[int, ...],
    order: tuple[int, ...],
    blocks: tuple[BlockAxis, ...],
    key: int,
    step: int,
    threshold: int,
    threads: int = 1,
) -> Bits:
    """Return what is kept where each coin below the threshold drops a block around it.

    The array lies in memory with its axes in `order`, the outermost first, if coins can be drawn in
    that order, and in their own order if not.
    """
    numbers = strides(sizes)
    loops = merged((sizes[axis], numbers[axis]) for axis in order)
    if not by_fours(loops):
        order, loops = tuple(range(len(sizes))), ((math.prod(sizes), 1),)
    out = np.empty([sizes[axis] for axis in order], np.uint8)
    inner = dict(zip(order, strides(out.shape), strict=True))
    axes = [(n, inner[axis], k, first, last) for axis, k, n, first, last in blocks]
    far = [axis for axis in axes if axis[1] >= _STRIP and axis[0] * axis[1] > _FAR]
    flat, law = out.reshape(-1), (U64(key), U64(step), U64(threshold))
    _draw_blocks(flat, [axis for axis in axes if axis not in far], loops, law, threads)
    for axis in far:
        n, gap, *_ = axis
        strips, grain = flat.size // (n * gap) * -(-gap // _STRIP), GRAIN // (n * _STRIP)
        spread(_erode_strips, strips, threads, max(1, grain), 1, flat, *axis)
    return out.transpose(np.argsort(order)).view(bool)


def _draw_blocks(
    out: NDArray[np.uint8], axes: list[Axis], loops: Loops, law: tuple[np.uint64, ...], threads: int
) -> None:
    """Draw coins in the order of the loops, and let blocks fall along these axes."""
    fours = 1 if loops[-1][1] == 1 else 4 * loops[-1][0]
    least = math.lcm(fours, *(n * inner for n, inner, *_ in axes))
    size = least * max(1, _UNIT // least)
    outside = np.ones((len(axes), size), np.uint8)
    for row, (n, inner, _, first, last) in zip(outside, axes, strict=True):
        row.reshape(-1, n, inner)[:, first : last + 1] = 0
    room = _STRIDE + max((size // n * (n + k) + k * inner for n, inner, k, *_ in axes), default=0)
    units, grain = -(-out.size // size), max(1, GRAIN // size)
    along = np.array(axes, np.int64).reshape(-1, 5)
    spread(_blocks, units, threads, grain, 1, out, size, *law, *arrays(loops), along, outside, room)
