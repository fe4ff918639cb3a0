"""Version 1 of the mask specification, in plain NumPy.

This file is the definition, together with `mapdrop.spec.law`. It draws a 32-bit word for every coin
by the coin's logical number alone; a law decides from the words which coins are kept. Neither knows
an array layout or a framework; faster implementations elsewhere must give the same bits (see
`vectors.json`). The same text in words is docs/mask-v1.md. It never changes under this version
number.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapdrop.spec import law as laws
from mapdrop.spec.law import BlockAxis, CoinSpace, Law

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


# --- The functions of NumPy's arrays that laws are written in.


class NumpySpace(CoinSpace[Words, Bits]):
    """The coins of a mask, drawn by NumPy."""

    def __init__(self, sizes: tuple[int, ...], key: int, step: int) -> None:
        self.sizes = self.shape = sizes
        self.key, self.step = key, step

    def words(self, axis: int | None = None) -> Words:
        """See `CoinSpace`."""
        shape, start = numbered(self.sizes, axis)
        return self.draw(math.prod(shape), start).reshape(shape)

    def draw(self, count: int, start: int) -> Words:
        """Return the words of the `count` coins from number `start` on."""
        return all_words(count, self.key, self.step, start)

    def at_least(self, words: Words, threshold: int) -> Bits:
        """See `CoinSpace`."""
        return np.asarray(words >= U64(threshold))

    def high_word(self, number: int, words: Words) -> NDArray[np.uint64]:
        """See `CoinSpace`."""
        return np.asarray((U64(number) + words.astype(U64)) >> U64(32))

    def largest(self, words: Words, axis: int, quota: int | NDArray[np.uint64]) -> Bits:
        """See `CoinSpace`."""
        lines = np.moveaxis(words, axis, -1)
        n = lines.shape[-1]
        shape = (*words.shape[:axis], 1, *words.shape[axis + 1 :])
        many = np.moveaxis(np.broadcast_to(quota, shape), axis, -1).astype(np.intp)
        # Larger words first, then lower places: one number orders both, so no two are equal.
        order = (U64(_LOW) - lines.astype(U64)) * U64(n) + np.arange(n, dtype=U64)
        last = np.take_along_axis(np.sort(order, -1), np.maximum(many - 1, 0), -1)
        return np.moveaxis((order <= last) & (many > 0), -1, axis)

    def erode(self, kept: Bits, block: BlockAxis) -> Bits:
        """See `CoinSpace`."""
        eroded = np.ones_like(kept)
        source, target = np.moveaxis(kept, block.axis, 0), np.moveaxis(eroded, block.axis, 0)
        for offset in range(-(block.size // 2), block.size - block.size // 2):
            low, high = max(0, block.first + offset), min(block.length, block.last + 1 + offset)
            if low < high:
                target[low:high] &= source[low - offset : high - offset]
        return eroded

    def count(self, kept: Bits, axes: tuple[int, ...]) -> NDArray[np.int64]:
        """See `CoinSpace`."""
        return np.asarray(kept.sum(axis=axes, keepdims=True))

    def ratio(self, drawn: int, kept: NDArray[np.int64]) -> float | NDArray[np.float64]:
        """See `CoinSpace`."""
        ratio = np.divide(drawn, kept, out=np.zeros(kept.shape), where=kept > 0)
        return float(ratio.reshape(())) if ratio.size == 1 else ratio


def numbered(sizes: tuple[int, ...], axis: int | None) -> tuple[tuple[int, ...], int]:
    """Return the shape of the coins and their first number; with `axis`, of the lines along it."""
    if axis is None:
        return sizes, 0
    return (*sizes[:axis], 1, *sizes[axis + 1 :]), math.prod(sizes)


def kept(law: Law, sizes: tuple[int, ...], key: int, step: int) -> Bits:
    """Return the mask of a law: True is kept."""
    return laws.kept(law, NumpySpace(sizes, key, step))
