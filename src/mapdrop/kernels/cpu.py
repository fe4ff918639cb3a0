"""The specification's coins and their use, compiled for the CPU by Numba.

They are compiled on first use and cached on disk. The loops are written for the vectoriser: ten
rounds unrolled by hand, a small tile of words, and contiguous runs for each thread.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapdrop.kernels.float16 import bits, times
from mapdrop.kernels.float16 import float16_in_hardware as float16_in_hardware
from mapdrop.kernels.jit import compiled
from mapdrop.kernels.parallel import spread
from mapdrop.spec.law import Loops, threshold
from mapdrop.spec.numpy_coins import Bits
from mapdrop.spec.words import Words

U32, U64 = np.uint32, np.uint64
_M0, _M1, _W0, _W1 = U64(0xD251_1F53), U64(0xCD9E_8D57), U32(0x9E37_79B9), U32(0xBB67_AE85)
_S = U64(32)
_BLOCKS = 64  # Philox blocks in a tile: 1 KiB of words, which stays in the L1 cache.
_TILE = 4 * _BLOCKS
_GRAIN = 1 << 17  # Values below which another thread costs more than it saves.
_SHORT = 256  # A row of up to so many values is masked: a branch would cost more than it saves.
_PIECE = 1 << 14  # Words in a unit of work, which is a run or a piece of one.
_FEW = _TILE // 4  # For up to so many words, drawing their blocks beats drawing a whole tile.
_ROWS = 64  # Rows of a tile.
_WIDTH = 1 << 10  # Columns of the tile into which a mask is transposed: rows as long as pay.
_PITCH = _WIDTH + _ROWS  # From row to row of it: a power of two would have one place in the cache.


@compiled(inline="always")
def _round(a: Any, b: Any, c: Any, d: Any, k0: Any, k1: Any) -> Any:
    left, right = _M0 * U64(a), _M1 * U64(c)
    return U32(right >> _S) ^ b ^ k0, U32(right), U32(left >> _S) ^ d ^ k1, U32(left)


@compiled(inline="always")
def _philox(a: Any, b: Any, c: Any, d: Any, k: Any, m: Any) -> Any:
    a, b, c, d = _round(a, b, c, d, k, m)
    a, b, c, d = _round(a, b, c, d, U32(k + _W0), U32(m + _W1))
    a, b, c, d = _round(a, b, c, d, U32(k + U32(2) * _W0), U32(m + U32(2) * _W1))
    a, b, c, d = _round(a, b, c, d, U32(k + U32(3) * _W0), U32(m + U32(3) * _W1))
    a, b, c, d = _round(a, b, c, d, U32(k + U32(4) * _W0), U32(m + U32(4) * _W1))
    a, b, c, d = _round(a, b, c, d, U32(k + U32(5) * _W0), U32(m + U32(5) * _W1))
    a, b, c, d = _round(a, b, c, d, U32(k + U32(6) * _W0), U32(m + U32(6) * _W1))
    a, b, c, d = _round(a, b, c, d, U32(k + U32(7) * _W0), U32(m + U32(7) * _W1))
    a, b, c, d = _round(a, b, c, d, U32(k + U32(8) * _W0), U32(m + U32(8) * _W1))
    return _round(a, b, c, d, U32(k + U32(9) * _W0), U32(m + U32(9) * _W1))


@compiled()
def _draw(tile: Any, block: Any, key: Any, step: Any) -> None:
    """Fill the tile with the words of the blocks from `block` on."""
    k, m = U32(key), U32(key >> _S)
    c, d = U32(step), U32(step >> _S)
    for j in range(_BLOCKS):
        number = block + U64(j)
        w0, w1, w2, w3 = _philox(U32(number), U32(number >> _S), c, d, k, m)
        tile[4 * j] = w0
        tile[4 * j + 1] = w1
        tile[4 * j + 2] = w2
        tile[4 * j + 3] = w3


@compiled()
def _draw_strided(tile: Any, block: Any, gap: Any, key: Any, step: Any, blocks: int) -> None:
    """Draw blocks `gap` apart: the i-th quarter of the tile gets the i-th word of each."""
    k, m = U32(key), U32(key >> _S)
    c, d = U32(step), U32(step >> _S)
    for j in range((blocks + 7) // 8 * 8):  # Whole vectors: one block takes as long as eight.
        number = block + U64(j) * gap
        w0, w1, w2, w3 = _philox(U32(number), U32(number >> _S), c, d, k, m)
        tile[j] = w0
        tile[_BLOCKS + j] = w1
        tile[2 * _BLOCKS + j] = w2
        tile[3 * _BLOCKS + j] = w3


@compiled()
def _words(out: Any, start: Any, key: Any, step: Any, low: int, high: int) -> None:
    tile = np.empty(_TILE, U32)
    at = low
    while at < high:
        first = U64(start) + U64(at)
        skip = int(first & U64(3))
        _draw(tile, first >> U64(2), key, step)
        n = min(_TILE - skip, high - at)
        out[at : at + n] = tile[skip : skip + n]
        at += n


@compiled()
def _runs(out: Any, starts: Any, run: int, key: Any, step: Any, low: int, high: int) -> None:
    """Write the words of runs of consecutive coins. A unit of work is a piece of a run."""
    tile = np.empty(_TILE, U32)
    k, m = U32(key), U32(key >> _S)
    c, d = U32(step), U32(step >> _S)
    pieces = (run + _PIECE - 1) // _PIECE
    for unit in range(low, high):
        left = unit % pieces * _PIECE
        number, at = starts[unit // pieces] + U64(left), unit // pieces * run + left
        end = at + min(_PIECE, run - left)
        while at < end:
            skip, block = int(number & U64(3)), number >> U64(2)
            n = min(_TILE - skip, end - at)
            if n > _FEW:
                _draw(tile, block, key, step)
            else:
                for j in range((skip + n + 3) // 4):
                    place = block + U64(j)
                    w0, w1, w2, w3 = _philox(U32(place), U32(place >> _S), c, d, k, m)
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
    tile = np.empty(_TILE, U32)
    for at in range(low, high, _TILE):
        _draw(tile, U64(at >> 2), key, step)
        part = out[at : min(at + _TILE, high)]
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
    tile = np.empty(_TILE, U32)
    zero = y.dtype.type(0)
    for at in range(low, high, _TILE):
        target = y[at : min(at + _TILE, high)]
        source = target if x is None else x[at : at + target.size]
        _draw(tile, first + U64(at >> 2), key, step)
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
    tile = np.empty(_TILE, U32)
    zero = y.dtype.type(0)
    inner, gap = sizes[-1], U64(steps[-1] >> 2)
    fours = sizes[-2] >> 2
    for unit in range(low, high):
        base, rest = unit % fours, unit // fours
        for axis in range(sizes.size - 3, -1, -1):
            base += rest % sizes[axis] * (steps[axis] >> 2)
            rest //= sizes[axis]
        for left in range(0, inner, _BLOCKS):
            n = min(_BLOCKS, inner - left)
            _draw_strided(tile, first + U64(base) + U64(left) * gap, gap, key, step, n)
            for lane in range(4):
                at = (unit * 4 + lane) * inner + left
                words = tile[lane * _BLOCKS : lane * _BLOCKS + n]
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
    x: Any, y: Any, raw: Any, coins: Any, scale: Any, sizes: Any, steps: Any, low: int, high: int
) -> None:
    """Drop with coins that values share, or whose order is not that of memory.

    Memory is walked in order: `sizes` are the loops from the outermost to the innermost, `steps`
    the step of the coin's number along each. A unit of work is a tile of up to 64 rows. `raw` is y
    as unsigned integers.
    """
    zero = y.dtype.type(0)
    inner, step = sizes[-1], steps[-1]
    rows, row_step = sizes[-2], steps[-2]
    turned = step > 1 and row_step == 1
    width = inner if step <= 1 else _WIDTH if turned else _ROWS
    tile = np.empty(_ROWS * _PITCH if turned else 0, np.uint8)
    tiles = (rows + _ROWS - 1) // _ROWS
    for unit in range(low, high):
        outer, first = unit // tiles, unit % tiles * _ROWS
        base, rest = 0, outer
        for axis in range(sizes.size - 3, -1, -1):
            base += rest % sizes[axis] * steps[axis]
            rest //= sizes[axis]
        if x is not None and step == 0 and inner <= _SHORT:
            # The coin masks the row's bits: a branch would take longer than its values.
            for row in range(first, min(first + _ROWS, rows)):
                mask = raw.dtype.type(0) - raw.dtype.type(coins[base + row * row_step])
                at = (outer * rows + row) * inner
                source, masked = x[at : at + inner], raw[at : at + inner]
                for j in range(inner):
                    masked[j] = bits(times(source[j], scale)) & mask
            continue
        for left in range(0, inner, width):
            n = min(width, inner - left)
            if turned:
                count = min(_ROWS, rows - first)
                _transpose(coins, tile, base + first + left * step, step, n, count)
            for row in range(first, min(first + _ROWS, rows)):
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


@compiled()
def _apply_in_order(x: Any, y: Any, coins: Any, scale: Any, low: int, high: int) -> None:
    """Drop with a coin for each value, in the order of memory."""
    target, own = y[low:high], coins[low:high]
    source = target if x is None else x[low:high]
    zero = y.dtype.type(0)
    for j in range(target.size):
        value = times(source[j], scale)
        target[j] = value if own[j] else zero


def words(count: int, key: int, step: int, start: int = 0, threads: int = 1) -> Words:
    """Return the words of `count` coins from number `start` on."""
    out = np.empty(count, U32)
    spread(_words, count, threads, _GRAIN, _TILE, out, U64(start), U64(key), U64(step))
    return out


def runs(starts: NDArray[np.uint64], run: int, key: int, step: int, threads: int = 1) -> Words:
    """Return the words of `run` coins from each of `starts` on, of shape (runs, run)."""
    out = np.empty((len(starts), run), U32)
    units, grain = len(starts) * -(-run // _PIECE), max(1, _GRAIN // max(1, min(run, _PIECE)))
    spread(_runs, units, threads, grain, 1, out.reshape(-1), starts, run, U64(key), U64(step))
    return out


def coins(shape: tuple[int, ...], key: int, step: int, threshold: int, threads: int = 1) -> Bits:
    """Return the coins of a shape: True where the word reaches the threshold."""
    out = np.empty(shape, np.uint8)
    arguments = U64(key), U64(step), U64(threshold)
    spread(_coins, out.size, threads, _GRAIN, _TILE, out.reshape(-1), *arguments)
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
        spread(_elements, x.size, threads, _GRAIN, _TILE, source, y, *law)
        return True
    if not by_fours(loops):
        return False
    inner, _ = loops[-1]
    units, grain = x.size // inner // 4, max(1, _GRAIN // (4 * inner))
    spread(_elements_transposed, units, threads, grain, 1, source, y, *law, *_arrays(loops))
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
    source, flat = None if x is y else x, coins.ravel("K").view(np.uint8)
    if loops == ((x.size, 1),):
        spread(_apply_in_order, x.size, threads, 8 * _GRAIN, _TILE, source, y, flat, scale)
        return
    sizes, steps = _arrays(((1, 0),) * (2 - len(loops)) + loops)
    units = int(np.prod(sizes[:-2])) * -(-int(sizes[-2]) // _ROWS)
    # This is little more than a copy, so that a thread needs more values than to draw words.
    grain = max(1, 8 * _GRAIN * units // max(x.size, 1))
    spread(
        _apply,
        units,
        threads,
        grain,
        1,
        source,
        y,
        y.view(f"u{y.itemsize}"),
        flat,
        scale,
        sizes,
        steps,
    )


def _arrays(loops: Loops) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    sizes, steps = zip(*loops, strict=True)
    return np.array(sizes, np.int64), np.array(steps, np.int64)
