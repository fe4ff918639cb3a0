"""The specification's coins and their use, compiled for the CPU by Numba.

They are compiled on first use and cached on disk. The loops are written for the vectoriser:
contiguous runs of values for each thread, and of words for each tile.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapdrop.kernels.float16 import float16_in_hardware as float16_in_hardware
from mapdrop.kernels.float16 import masked, times
from mapdrop.kernels.jit import compiled
from mapdrop.kernels.parallel import spread
from mapdrop.kernels.philox import BLOCKS, TILE, U32, U64, draw, draw_strided, philox
from mapdrop.spec.law import Loops, threshold
from mapdrop.spec.numpy_coins import Bits
from mapdrop.spec.words import Words

_S = U64(32)
GRAIN = 1 << 17  # Values below which another thread costs more than it saves.
_SHORT = 1 << 10  # A row of up to so many values is masked: a branch would cost what it saves.
_PIECE = 1 << 14  # Words in a unit of work, which is a run or a piece of one.
_FEW = TILE // 4  # For up to so many words, drawing their blocks beats drawing a whole tile.
_ROWS = 64  # Rows of a tile, at most.
_UNIT = 1 << 17  # Values of a tile, at most.
_WIDTH = 1 << 10  # Columns of the tile into which a mask is transposed: rows as long as pay.
_PITCH = _WIDTH + _ROWS  # From row to row of it: a power of two would have one place in the cache.


@compiled()
def _words(out: Any, start: Any, key: Any, step: Any, low: int, high: int) -> None:
    tile = np.empty(TILE, U32)
    at = low
    while at < high:
        first = U64(start) + U64(at)
        skip = int(first & U64(3))
        draw(tile, first >> U64(2), key, step)
        n = min(TILE - skip, high - at)
        out[at : at + n] = tile[skip : skip + n]
        at += n


@compiled()
def _runs(out: Any, starts: Any, run: int, key: Any, step: Any, low: int, high: int) -> None:
    """Write the words of runs of consecutive coins. A unit of work is a piece of a run."""
    tile = np.empty(TILE, U32)
    k, m = U32(key), U32(key >> _S)
    c, d = U32(step), U32(step >> _S)
    pieces = (run + _PIECE - 1) // _PIECE
    for unit in range(low, high):
        left = unit % pieces * _PIECE
        number, at = starts[unit // pieces] + U64(left), unit // pieces * run + left
        end = at + min(_PIECE, run - left)
        while at < end:
            skip, block = int(number & U64(3)), number >> U64(2)
            n = min(TILE - skip, end - at)
            if n > _FEW:
                draw(tile, block, key, step)
            else:
                for j in range((skip + n + 3) // 4):
                    place = block + U64(j)
                    w0, w1, w2, w3 = philox(U32(place), U32(place >> _S), c, d, k, m)
                    tile[4 * j] = w0
                    tile[4 * j + 1] = w1
                    tile[4 * j + 2] = w2
                    tile[4 * j + 3] = w3
            out[at : at + n] = tile[skip : skip + n]
            number += U64(n)
            at += n


@compiled()
def _coins(out: Any, key: Any, step: Any, limit: Any, low: int, high: int) -> None:
    """Write 1 where the word is at least `limit`. `low` is a multiple of the tile."""
    tile = np.empty(TILE, U32)
    for at in range(low, high, TILE):
        draw(tile, U64(at >> 2), key, step)
        part = out[at : min(at + TILE, high)]
        for j in range(part.size):
            part[j] = tile[j] >= limit


# In place, x is None below, and the kernel is compiled for one array. With two that may overlap the
# compiler would not vectorise.


@compiled()
def _elements(
    x: Any, y: Any, first: Any, key: Any, step: Any, limit: Any, scale: Any, low: int, high: int
) -> None:
    """Drop with a coin for each value, in the order of memory. The mask is never stored.

    `first` is the number of the Philox block of the first four coins, here and below.
    """
    tile = np.empty(TILE, U32)
    zero = y.dtype.type(0)
    for at in range(low, high, TILE):
        target = y[at : min(at + TILE, high)]
        source = target if x is None else x[at : at + target.size]
        draw(tile, first + U64(at >> 2), key, step)
        for j in range(target.size):
            value = times(source[j], scale)
            target[j] = value if tile[j] >= limit else zero


@compiled()
def _elements_transposed(
    x: Any,
    y: Any,
    first: Any,
    key: Any,
    step: Any,
    limit: Any,
    scale: Any,
    sizes: Any,
    steps: Any,
    low: int,
    high: int,
) -> None:
    """Drop with a coin for each value, of which neighbours in memory are `steps[-1]` coins apart.

    The four coins of a Philox block belong to four neighbouring rows, so that blocks are drawn for
    four rows at once. A unit of work is four rows. The loops are as for `_apply`.
    """
    tile = np.empty(TILE, U32)
    zero = y.dtype.type(0)
    inner, gap = sizes[-1], U64(steps[-1] >> 2)
    fours = sizes[-2] >> 2
    for unit in range(low, high):
        base, rest = unit % fours, unit // fours
        for axis in range(sizes.size - 3, -1, -1):
            base += rest % sizes[axis] * (steps[axis] >> 2)
            rest //= sizes[axis]
        for left in range(0, inner, BLOCKS):
            n = min(BLOCKS, inner - left)
            draw_strided(tile, first + U64(base) + U64(left) * gap, gap, key, step, n)
            for lane in range(4):
                at = (unit * 4 + lane) * inner + left
                words = tile[lane * BLOCKS : lane * BLOCKS + n]
                target = y[at : at + n]
                source = target if x is None else x[at : at + n]
                for j in range(n):
                    value = times(source[j], scale)
                    target[j] = value if words[j] >= limit else zero


@compiled()
def _transpose(coins: Any, tile: Any, start: int, step: int, n: int, rows: int) -> None:
    """Fill the tile with rows of n coins that lie `step` apart; neighbours are in other rows."""
    for j in range(n):
        line = coins[start + j * step : start + j * step + rows]
        for row in range(rows):
            tile[row * _PITCH + j] = line[row]


@compiled()
def _apply(
    x: Any,
    y: Any,
    coins: Any,
    scale: Any,
    sizes: Any,
    steps: Any,
    tall: int,
    wide: int,
    low: int,
    high: int,
) -> None:
    """Drop with coins that values share, or whose order is not that of memory.

    Memory is walked in order: `sizes` are the loops from the outermost to the innermost, `steps`
    the step of the coin's number along each. A unit of work is a tile of up to
    `tall` rows and `wide` columns.
    """
    zero = y.dtype.type(0)
    inner, step = sizes[-1], steps[-1]
    rows, row_step = sizes[-2], steps[-2]
    turned = step > 1 and row_step == 1
    width = wide if step <= 1 else _WIDTH if turned else _ROWS
    tile = np.empty(_ROWS * _PITCH if turned else 0, np.uint8)
    tiles, pieces = (rows + tall - 1) // tall, (inner + wide - 1) // wide
    for unit in range(low, high):
        place, piece = unit // pieces, unit % pieces * wide
        outer, first = place // tiles, place % tiles * tall
        last = min(first + tall, rows)
        base, rest = 0, outer
        for axis in range(sizes.size - 3, -1, -1):
            base += rest % sizes[axis] * steps[axis]
            rest //= sizes[axis]
        if step == 0 and inner <= _SHORT:
            for row in range(first, last):
                at, coin = (outer * rows + row) * inner, coins[base + row * row_step]
                target = y[at : at + inner]
                source = target if x is None else x[at : at + inner]
                for j in range(inner):
                    target[j] = masked(times(source[j], scale), coin)
            continue
        for left in range(piece, min(piece + wide, inner), width):
            n = min(width, inner - left)
            if turned:
                _transpose(coins, tile, base + first + left * step, step, n, last - first)
            for row in range(first, last):
                at = (outer * rows + row) * inner + left
                coin = base + row * row_step + left * step
                target = y[at : at + n]
                source = target if x is None else x[at : at + n]
                if step == 0:
                    if coins[coin]:
                        for j in range(n):
                            target[j] = times(source[j], scale)
                    else:
                        target[:] = zero
                elif step == 1:
                    own = coins[coin : coin + n]
                    for j in range(n):
                        value = times(source[j], scale)
                        target[j] = value if own[j] else zero
                elif turned:
                    start = (row - first) * _PITCH
                    transposed = tile[start : start + n]
                    for j in range(n):
                        value = times(source[j], scale)
                        target[j] = value if transposed[j] else zero
                else:
                    for j in range(n):
                        value = times(source[j], scale)
                        target[j] = value if coins[coin + j * step] else zero


def words(count: int, key: int, step: int, start: int = 0, threads: int = 1) -> Words:
    """Return the words of `count` coins from number `start` on."""
    out = np.empty(count, U32)
    spread(_words, count, threads, GRAIN, TILE, out, U64(start), U64(key), U64(step))
    return out


def runs(starts: NDArray[np.uint64], run: int, key: int, step: int, threads: int = 1) -> Words:
    """Return the words of `run` coins from each of `starts` on, of shape (runs, run)."""
    out = np.empty((len(starts), run), U32)
    units, grain = len(starts) * -(-run // _PIECE), max(1, GRAIN // max(1, min(run, _PIECE)))
    spread(_runs, units, threads, grain, 1, out.reshape(-1), starts, run, U64(key), U64(step))
    return out


def coins(shape: tuple[int, ...], key: int, step: int, threshold: int, threads: int = 1) -> Bits:
    """Return the coins of a shape: True where the word reaches the threshold."""
    out = np.empty(shape, np.uint8)
    arguments = U64(key), U64(step), U64(threshold)
    spread(_coins, out.size, threads, GRAIN, TILE, out.reshape(-1), *arguments)
    return out.view(bool)


def by_fours(loops: Loops) -> bool:
    """Whether the coins of a Philox block belong to four rows, which can be drawn at once."""
    *outer, (rows, row_step), (_, gap) = (1, 0), *loops
    steps = (step for _, step in outer)
    return row_step == 1 and all(step % 4 == 0 for step in (rows, gap, *steps))


def elements(
    x: NDArray[Any],
    y: NDArray[Any],
    first: int,
    key: int,
    step: int,
    p: float,
    scale: Any,
    loops: Loops,
    threads: int,
) -> bool:
    """y = x dropped with a coin for each value, drawn on the way. Return whether that was done.

    It cannot be done for every order of loops. x and y are flat, in the order of memory; `first` is
    the number of the first coin.
    """
    if first % 4:
        return False
    source = None if x is y else x
    law = (U64(first // 4), U64(key), U64(step), U64(threshold(p)), scale)
    if loops == ((x.size, 1),):
        spread(_elements, x.size, threads, GRAIN, TILE, source, y, *law)
        return True
    if not by_fours(loops):
        return False
    inner, _ = loops[-1]
    units, grain = x.size // inner // 4, max(1, GRAIN // (4 * inner))
    spread(_elements_transposed, units, threads, grain, 1, source, y, *law, *arrays(loops))
    return True


def apply(
    x: NDArray[Any],
    y: NDArray[Any],
    coins: Bits,
    scale: Any,
    loops: Loops,
    threads: int,
) -> None:
    """y = x * scale where `coins` keep it, else 0. x and y are flat, in the order of memory.

    The loops' steps are those of the coins in memory.
    """
    sizes, steps = arrays(((1, 0),) * (2 - len(loops)) + loops)
    *outer, rows, inner = sizes.tolist()
    turned = steps[-1] > 1 and steps[-2] == 1
    tall = _ROWS if turned else max(1, min(_ROWS, _UNIT // inner))
    wide = _UNIT // tall
    units = math.prod(outer) * -(-rows // tall) * -(-inner // wide)
    # This is little more than a copy, so that a thread needs more values than to draw words.
    grain = max(1, 4 * GRAIN * units // max(x.size, 1))
    spread(
        _apply,
        units,
        threads,
        grain,
        1,
        None if x is y else x,
        y,
        coins.ravel("K").view(np.uint8),
        scale,
        sizes,
        steps,
        tall,
        wide,
    )


def arrays(loops: Loops) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the loops' sizes and steps."""
    sizes, steps = zip(*loops, strict=True)
    return np.array(sizes, np.int64), np.array(steps, np.int64)
