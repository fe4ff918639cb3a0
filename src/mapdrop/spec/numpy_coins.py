"""The functions that laws are written in, for NumPy's arrays: masks by the definition."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mapdrop.spec import law as laws
from mapdrop.spec.law import BlockAxis, CoinSpace, Law, Size, numbered
from mapdrop.spec.words import U64, Words, all_words

Bits = NDArray[np.bool_]


class NumpySpace(CoinSpace[Words, Bits]):
    """The coins of a mask, drawn by NumPy."""

    shape: tuple[Size, ...]
    key: int
    step: int

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
        order = (U64(2**32 - 1) - lines.astype(U64)) * U64(n) + np.arange(n, dtype=U64)
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
        if len(axes) == kept.ndim:  # NumPy counts a whole array in an eighth of the time.
            return np.full((1,) * kept.ndim, np.count_nonzero(kept))
        return np.asarray(kept.sum(axis=axes, keepdims=True))

    def ratio(self, drawn: int, kept: NDArray[np.int64]) -> float | NDArray[np.float64]:
        """See `CoinSpace`."""
        ratio = np.divide(drawn, kept, out=np.zeros(kept.shape), where=kept > 0)
        return float(ratio.reshape(())) if ratio.size == 1 else ratio


def kept(law: Law, sizes: tuple[int, ...], key: int, step: int) -> Bits:
    """Return the mask of a law: True is kept."""
    return laws.kept(law, NumpySpace(sizes, key, step))
