"""Which coins fall: version 1 of the mask specification, in plain NumPy.

This file is the definition. It draws a 32-bit word for every coin by the coin's logical number
alone, and decides from the words which coins are kept. It knows no array layout and no framework;
faster implementations elsewhere must give the same bits (see `vectors.json`). The same text in
words is docs/mask-v1.md. It never changes under this version number.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

VERSION = 1
U32, U64 = np.uint32, np.uint64
Words = NDArray[np.uint32]
Bits = NDArray[np.bool_]
_LOW = 0xFFFF_FFFF

# --- The generator: Philox4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3",
# SC 2011), with the constants of Random123.

_MULTIPLIERS = (0xD251_1F53, 0xCD9E_8D57)
_WEYL = (0x9E37_79B9, 0xBB67_AE85)


def philox(counter: tuple[Any, Any, Any, Any], key: tuple[int, int]) -> tuple[Words, ...]:
    """Four 32-bit words for each counter; the counter's parts are uint32 arrays or numbers.

    >>> [f"{int(w):08x}" for w in philox((0, 0, 0, 0), (0, 0))]
    ['6627e8d5', 'e169c58d', 'bc57ac4c', '9b00dbd8']
    """
    a, b, c, d = (np.asarray(part, U32) for part in counter)
    for turn in range(10):
        k0, k1 = (U32((k + turn * w) & _LOW) for k, w in zip(key, _WEYL, strict=True))
        left = a.astype(U64) * U64(_MULTIPLIERS[0])
        right = c.astype(U64) * U64(_MULTIPLIERS[1])
        a, b = _high(right) ^ b ^ k0, right.astype(U32)
        c, d = _high(left) ^ d ^ k1, left.astype(U32)
    return a, b, c, d


def _high(product: NDArray[np.uint64]) -> Words:
    return (product >> U64(32)).astype(U32)


def split(number: int) -> tuple[int, int]:
    """The low and the high word of an unsigned 64-bit number."""
    return number & _LOW, number >> 32


def stream_words(stream: str) -> tuple[int, int, int, int]:
    """A stream's name as a Philox counter: its BLAKE2b-128 as four little-endian words."""
    import hashlib  # Here, because it takes a sixth of the time that `import mapdrop` may take.

    digest = hashlib.blake2b(stream.encode(), digest_size=16).digest()
    a, b, c, d = (int.from_bytes(digest[i : i + 4], "little") for i in range(0, 16, 4))
    return a, b, c, d


def stream_key(seed: int, stream: str | None) -> int:
    """The 64-bit key for a seed and a stream's name: hashed, never added to the seed."""
    if stream is None:
        return seed
    low, high, *_ = philox(stream_words(stream), split(seed))
    return int(low) | int(high) << 32


def words(index: NDArray[np.uint64], key: int, step: int) -> Words:
    """The words of the coins numbered `index` (uint64): any of them alone, at its own cost."""
    block = index >> U64(2)
    counter = (block.astype(U32), _high(block), *split(step))
    lanes = np.stack(philox(counter, split(key)), axis=-1)
    lane = (index & U64(3)).astype(np.intp)
    return np.asarray(np.take_along_axis(lanes, lane[..., None], axis=-1)[..., 0])


def all_words(count: int, key: int, step: int, start: int = 0) -> Words:
    """The words of the `count` coins from number `start` on, each block of four drawn once."""
    first, last = start >> 2, (start + count + 3) >> 2
    block = np.arange(first, last, dtype=U64)
    lanes = philox((block.astype(U32), _high(block), *split(step)), split(key))
    return np.stack(lanes, axis=-1).reshape(-1)[start - 4 * first :][:count]


# --- The law: what is asked of the coins.


@dataclass(frozen=True)
class Law:
    """How coins fall. Axes are numbers of coin axes; `block` has (axis, size) pairs."""

    p: float
    exact: int | None = None
    balance: int | None = None
    block: tuple[tuple[int, int], ...] = ()
    region: str = "valid"

    @property
    def independent(self) -> bool:
        """Whether each coin falls by its own word alone."""
        return self.exact is None and self.balance is None and not self.block


def threshold(p: float) -> int:
    """T: a coin is dropped when its word is below. From 0 (none) to 2**32 (all)."""
    return round(p * 2**32)


def survivors(p: float, n: int) -> int:
    """How many of n coins `exact=` keeps."""
    return round((1 - p) * n)


def kept(
    law: Law, coins: tuple[int, ...], key: int, step: int, draw: Callable[..., Words] = all_words
) -> Bits:
    """The whole mask: True is kept, in the shape `coins`.

    `draw(count, key, step, start)` may be a faster maker of the same words.
    """
    count = math.prod(coins)
    if count == 0:
        return np.zeros(coins, bool)
    drawn = draw(count, key, step, 0).reshape(coins)
    if law.block:
        centres = drawn < U64(threshold(centre_rate(law, coins)))
        return ~dilate(centres & inside(law, coins), law, coins)
    if law.independent:
        return np.asarray(drawn >= U64(threshold(law.p)))
    axis = law.exact if law.balance is None else law.balance
    assert axis is not None
    others = coins[:axis] + coins[axis + 1 :]
    many = quota(law, coins, draw(math.prod(others), key, step, count).reshape(others))
    return largest(drawn, axis, np.expand_dims(many, axis))


def kept_at(law: Law, coins: tuple[int, ...], key: int, step: int, index: tuple[Any, ...]) -> Bits:
    """Some coins alone: `index` has one integer array for each coin axis, all of one shape.

    Costs a word for each coin asked for; with `exact` and `balance` that of the line it lies on,
    with `block` that of the centres that reach it.
    """
    at = np.broadcast_arrays(*(np.asarray(i, U64) for i in index))
    if any((place >= U64(n)).any() for place, n in zip(at, coins, strict=True)):
        raise IndexError(f"there are {coins} coins, and none at every place asked for")
    number = _number(at, coins)
    if law.block:
        return ~_reached(law, coins, key, step, at, number)
    if law.independent:
        return np.asarray(words(number, key, step) >= U64(threshold(law.p)))
    axis = law.exact if law.balance is None else law.balance
    assert axis is not None
    size, gap = coins[axis], U64(strides(coins)[axis])
    line = number - at[axis] * gap
    drawn = words(line[..., None] + np.arange(size, dtype=U64) * gap, key, step)
    others = coins[:axis] + coins[axis + 1 :]
    rest = [i for a, i in enumerate(at) if a != axis]
    row = np.broadcast_to(_number(rest, others), line.shape)
    many = quota(law, coins, words(row + U64(math.prod(coins)), key, step))
    survives = largest(drawn, -1, many[..., None])
    place = at[axis].astype(np.intp)[..., None]
    return np.asarray(np.take_along_axis(survives, place, -1)[..., 0])


def strides(coins: tuple[int, ...]) -> tuple[int, ...]:
    """Step of the coin's number along each coin axis (row-major)."""
    return tuple(math.prod(coins[a + 1 :]) for a in range(len(coins)))


def _number(at: Sequence[NDArray[np.uint64]], sizes: tuple[int, ...]) -> NDArray[np.uint64]:
    """The row-major number of the places `at` (uint64) in an array of these sizes."""
    number = np.zeros(at[0].shape if at else (), U64)
    for place, step in zip(at, strides(sizes), strict=True):
        number = number + place * U64(step)
    return number


def quota(law: Law, coins: tuple[int, ...], extra: Words) -> NDArray[np.uint64]:
    """How many coins survive on each line; `extra` has one word a line, which `balance` uses."""
    if law.exact is not None:
        return np.full(extra.shape, survivors(law.p, coins[law.exact]), U64)
    assert law.balance is not None
    room = U64((2**32 - threshold(law.p)) * coins[law.balance])
    return np.asarray((room + extra.astype(U64)) >> U64(32))


def largest(drawn: Words, axis: int, many: NDArray[np.uint64]) -> Bits:
    """Along `axis`, so `many` coins with the largest words; ties go to the lower index."""
    drawn, many = np.moveaxis(drawn, axis, -1), np.moveaxis(many, axis, -1).astype(np.intp)
    n = drawn.shape[-1]
    # Larger words first, then lower places: one number orders both, so no two coins are equal.
    order = (U64(_LOW) - drawn.astype(U64)) * U64(n) + np.arange(n, dtype=U64)
    last = np.take_along_axis(np.sort(order, -1), np.maximum(many - 1, 0), -1)
    return np.moveaxis((order <= last) & (many > 0), -1, axis)


# --- Blocks (DropBlock: Ghiasi, Lin, Le, NeurIPS 2018): coins are the blocks' centres. A block of
# size k around centre j covers j - k//2 to j - k//2 + k - 1, so that an odd one is symmetric.


def spans(law: Law, coins: tuple[int, ...]) -> list[tuple[int, int, int, int, int]]:
    """For each block axis: (axis, size cut to the map, length, first, last place of a centre)."""
    out = []
    for axis, size in law.block:
        n = coins[axis]
        k = min(size, n)
        first, last = (k // 2, n - k + k // 2) if law.region == "valid" else (0, n - 1)
        out.append((axis, k, n, first, last))
    return out


def inside(law: Law, coins: tuple[int, ...]) -> Bits:
    """Where a centre may lie, broadcastable to the coins' shape."""
    allowed = np.ones((1,) * len(coins), bool)
    for axis, _, n, first, last in spans(law, coins):
        place = np.arange(n).reshape([n if a == axis else 1 for a in range(len(coins))])
        allowed = allowed & (first <= place) & (place <= last)
    return allowed


def dilate(centres: Bits, law: Law, coins: tuple[int, ...]) -> Bits:
    """Every place that the block of some centre covers."""
    covered = centres
    for axis, k, n, *_ in spans(law, coins):
        source, covered = np.moveaxis(covered, axis, 0), np.zeros(coins, bool)
        target = np.moveaxis(covered, axis, 0)
        for offset in range(-(k // 2), k - k // 2):
            low, high = max(0, offset), min(n, n + offset)
            target[low:high] |= source[low - offset : high - offset]
    return covered


@lru_cache(maxsize=1024)
def centre_rate(law: Law, coins: tuple[int, ...]) -> float:
    """q, the centres' probability with which the mean drop over the map is exactly p.

    A place that c centres can reach is dropped with probability 1 - (1-q)**c. The mean of that over
    the places rises with q, so q is found by 64 halvings of [0, 1].
    """
    if law.p in (0, 1):
        return law.p
    number, times = np.ones(1), np.ones(1)  # Centres in reach, and at how many places so many.
    for _, k, n, first, last in spans(law, coins):
        place = np.arange(n)
        low = np.maximum(place - (k - 1) + k // 2, first)
        high = np.minimum(place + k // 2, last)
        reach, places = np.unique(high - low + 1, return_counts=True)
        number = np.multiply.outer(number, reach).ravel()
        times = np.multiply.outer(times, places).ravel()
    low_q, high_q = 0.0, 1.0
    for _ in range(64):
        q = (low_q + high_q) / 2
        if q == 1 or -np.expm1(number * np.log1p(-q)) @ times / times.sum() >= law.p:
            high_q = q
        else:
            low_q = q
    return high_q


def _reached(
    law: Law, coins: tuple[int, ...], key: int, step: int, at: Any, number: NDArray[np.uint64]
) -> Bits:
    """Whether a centre drops each coin: the words of the centres in reach, and no others."""
    steps, limit = strides(coins), U64(threshold(centre_rate(law, coins)))
    ranges = spans(law, coins)
    hit = np.zeros(number.shape, bool)
    for offsets in itertools.product(
        *(range(-(k - 1) + k // 2, k // 2 + 1) for _, k, *_ in ranges)
    ):
        allowed, centre = np.ones(number.shape, bool), number.astype(np.int64)
        for offset, (axis, _, _, first, last) in zip(offsets, ranges, strict=True):
            place = at[axis].astype(np.int64) + offset
            allowed &= (first <= place) & (place <= last)
            centre = centre + offset * steps[axis]
        drawn = words(np.where(allowed, centre, 0).astype(U64), key, step)
        hit |= allowed & (drawn < limit)
    return hit
