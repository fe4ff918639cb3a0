"""Which coins are kept: every law, written once over a few functions of arrays.

A backend gives these functions for its own arrays (a `CoinSpace`), and calls `kept`. How words come
from a seed is in `mapdrop.spec.words`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

Words = TypeVar("Words")
Bits = TypeVar("Bits")
HALVINGS = 64
"""Of the interval [0, 1], in which the probability of a block's centre is found."""
Loops = tuple[tuple[int, int], ...]
"""Over values in memory, outermost first: (size, step of the coin's number)."""
Size = Any  # An int; where a graph learns it only when it runs, TensorFlow's tensor of one.


@dataclass(frozen=True)
class Law:
    """How coins fall. Axes are numbers of coin axes; `block` has (axis, size) pairs.

    Where a rate is known only when a graph runs, p is a framework's number in float64.
    """

    p: Any
    exact: int | None = None
    balance: int | None = None
    block: tuple[tuple[int, int], ...] = ()
    region: str = "valid"

    @cached_property
    def independent(self) -> bool:
        """Whether each coin falls by its own word alone, by no other field than p."""
        return self == Law(self.p, region=self.region)

    @property
    def axis(self) -> int | None:
        """The coin axis along which a fixed number of coins is kept, by `exact` or `balance`."""
        return self.exact if self.balance is None else self.balance

    def rate(self, sizes: tuple[int, ...]) -> float:
        """Return the fraction of coins that fall on average, of coin axes of these sizes."""
        n = 0 if self.exact is None else sizes[self.exact]
        return (n - survivors(self.p, n)) / n if n else self.p

    def most(self, n: int) -> int:
        """Return how many of n coins along `axis` are kept at most; all where there is no axis."""
        if self.exact is not None:
            return survivors(self.p, n)
        kept = 2**32 - (threshold(self.p) if self.balance is not None else 0)
        return -(-kept * n // 2**32)

    def sentence(self, names: tuple[str, ...], sizes: tuple[int, ...]) -> str:
        """Say what ties coins to each other; empty where each falls by itself."""
        if self.block:
            sides = " x ".join(str(min(side, sizes[axis])) for axis, side in self.block)
            along = ", ".join(names[axis] for axis, _ in self.block)
            return f"Coins fall in blocks of {sides} along {along}."
        if self.axis is None:
            return ""
        n = sizes[self.axis]
        number = f"exactly {survivors(self.p, n)} survive"
        if self.balance is not None:
            number = f"{(1 - self.p) * n:g} survive, rounded up or down"
        return f"Of each {n} coins along {names[self.axis]} {number}."


class BlockAxis(NamedTuple):
    """An axis along which blocks are dropped.

    A block of size k around centre j covers j - k//2 to j - k//2 + k - 1, so that an odd one is
    symmetric (DropBlock: Ghiasi, Lin, Le, NeurIPS 2018).

    Attributes:
        axis: the number of the coin axis.
        size: the block's size, cut to the axis.
        length: the axis's length.
        first, last: where the first and the last centre may lie.
    """

    axis: int
    size: Size
    length: Size
    first: Size
    last: Size


class CoinSpace(ABC, Generic[Words, Bits]):
    """The coins of one mask, and the functions of arrays that laws are written in.

    Attributes:
        sizes: the size of each coin axis.
        shape: the shape of the arrays: `sizes`, but for a shard, which draws some coins only.
    """

    sizes: tuple[Size, ...]
    shape: tuple[Size, ...]

    @abstractmethod
    def words(self, axis: int | None = None) -> Words:
        """Return the coins' words; with `axis`, those of the lines along it.

        Lines are numbered after all coins. Their array has size 1 along the axis.
        """

    @abstractmethod
    def at_least(self, words: Words, threshold: Size) -> Bits:
        """Return where words reach the threshold, which is from 0 to 2**32."""

    @abstractmethod
    def high_word(self, number: Size, words: Words) -> Any:
        """Return (number + word) >> 32 for each word; the number has up to 64 bits."""

    @abstractmethod
    def largest(self, words: Words, axis: int, quota: Any) -> Bits:
        """Return where the `quota` largest words along the axis are; ties go to the lower index.

        `quota` is a number, or an array with one for each line, of size 1 along the axis.
        """

    @abstractmethod
    def erode(self, kept: Bits, block: BlockAxis) -> Bits:
        """Return what is kept where each False of `kept` drops a block along an axis.

        Only a False from `block.first` to `block.last` is a centre.
        """

    @abstractmethod
    def count(self, kept: Bits, axes: tuple[int, ...]) -> Any:
        """Return how many are kept along the axes, which stay with size 1."""

    @abstractmethod
    def ratio(self, drawn: Size, kept: Any) -> Any:
        """Return drawn / kept in float64, and 0 where nothing is kept."""

    def coins(self, threshold: Size) -> Bits:
        """Return where the coins' own words reach the threshold."""
        return self.at_least(self.words(), threshold)

    def eroded(self, threshold: Size, blocks: tuple[BlockAxis, ...]) -> Bits:
        """Return what is kept where each coin below the threshold is a centre; see `erode`."""
        made = self.coins(threshold)
        for block in blocks:
            made = self.erode(made, block)
        return made

    # --- Of sizes and rates. They are overridden where one may be unknown.

    def survivors(self, p: Any, n: Size) -> Size:
        """See `survivors`."""
        return survivors(p, n)

    def block_axes(self, law: Law) -> tuple[BlockAxis, ...]:
        """See `block_axes`."""
        return block_axes(law, self.sizes)

    def threshold(self, law: Law) -> Size:
        """Return the threshold below which a coin's word drops it, or makes it a centre."""
        return threshold(centre_rate(law, self.sizes) if law.block else law.p)

    def quotas(self, law: Law, words: Words) -> Any:
        """Return how many coins `balance=` keeps of each line, by the lines' words."""
        assert law.axis is not None
        return self.high_word((2**32 - self.threshold(law)) * self.sizes[law.axis], words)

    def expected(self, law: Law) -> Any:
        """See `expected`."""
        return expected(law, self.sizes)


def kept(law: Law, space: CoinSpace[Words, Bits]) -> Bits:
    """Return the mask of a law: True is kept."""
    if any(isinstance(n, int) and n == 0 for n in space.shape):
        return space.coins(0)
    if law.axis is None:
        return space.eroded(space.threshold(law), space.block_axes(law))
    if law.exact is not None:
        quota = space.survivors(law.p, space.sizes[law.axis])
    else:
        quota = space.quotas(law, space.words(law.axis))
    return space.largest(space.words(), law.axis, quota)


def needed(law: Law, sizes: tuple[int, ...], axis: int, low: int, high: int) -> range | None:
    """Return the places along an axis whose words decide the coins from low to high.

    None where no other coins than a coin's own decide it, so that gaps may stay gaps.
    """
    if axis == law.axis:
        return range(sizes[axis])
    for block in block_axes(law, sizes):
        if block.axis == axis:
            first, last = low + block.size // 2 - block.size + 1, high + block.size // 2
            return range(max(first, 0), min(last, sizes[axis] - 1) + 1)
    return None


def threshold(p: float) -> int:
    """Return T: a coin is dropped when its word is below. From 0 (none) to 2**32 (all)."""
    return round(p * 2**32)


def survivors(p: float, n: int) -> int:
    """Return how many of n coins `exact=` keeps."""
    return round((1 - p) * n)


def expected(law: Law, sizes: tuple[int, ...]) -> float:
    """Return one over the fraction of coins that is kept on average; 0 where none can be kept."""
    if law.exact is None:
        return 1 / (1 - law.p) if law.p < 1 else 0.0
    n = sizes[law.exact]
    kept = survivors(law.p, n)
    return n / kept if kept else 0.0


def block_axes(law: Law, sizes: tuple[Size, ...], minimum: Any = min) -> tuple[BlockAxis, ...]:
    """Return the axes of a law's blocks in a coin space of these sizes."""
    found = []
    for axis, size in law.block:
        n = sizes[axis]
        k = minimum(n, size)
        first, last = (k // 2, n - k + k // 2) if law.region == "valid" else (0, n - 1)
        found.append(BlockAxis(axis, k, n, first, last))
    return tuple(found)


@lru_cache(maxsize=1024)
def centre_rate(law: Law, sizes: tuple[int, ...]) -> float:
    """Return q, the centres' probability with which the mean drop over the map is exactly p.

    A place that c centres can reach is dropped with probability 1 - (1-q)**c. The mean of that over
    the places rises with q, so q is found by 64 halvings of [0, 1].
    """
    if law.p in (0, 1):
        return float(law.p)
    number, times = reaches(law, sizes)
    low_q, high_q = 0.0, 1.0
    for _ in range(HALVINGS):
        q = (low_q + high_q) / 2
        if q == 1 or -np.expm1(number * np.log1p(-q)) @ times / times.sum() >= law.p:
            high_q = q
        else:
            low_q = q
    return high_q


def reaches(law: Law, sizes: tuple[int, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how many centres may reach a place of a map, and of how many places that holds."""
    number, times = np.ones(1), np.ones(1)
    for _, k, n, first, last in block_axes(law, sizes):
        place = np.arange(n)
        low = np.maximum(place - (k - 1) + k // 2, first)
        high = np.minimum(place + k // 2, last)
        reach, places = np.unique(high - low + 1, return_counts=True)
        number = np.multiply.outer(number, reach).ravel()
        times = np.multiply.outer(times, places).ravel()
    return number, times


def numbered(sizes: tuple[int, ...], axis: int | None) -> tuple[tuple[int, ...], int]:
    """Return the shape of the coins and their first number; with `axis`, of the lines along it."""
    if axis is None:
        return sizes, 0
    return (*sizes[:axis], 1, *sizes[axis + 1 :]), math.prod(sizes)


def strides(sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Return the step of the coin's number along each coin axis (row-major)."""
    return tuple(math.prod(sizes[a + 1 :]) for a in range(len(sizes)))


def merged(loops: Iterable[tuple[int, int]]) -> Loops:
    """Return the same loops with those of size 1 left out and neighbours merged, if they can be."""
    found: list[tuple[int, int]] = [(1, 0)]
    for size, step in loops:
        if size == 1:
            continue
        if found[-1] == (1, 0) or found[-1][1] == size * step:
            found[-1] = (found[-1][0] * size, step)
        else:
            found.append((size, step))
    return tuple(found)
