"""The functions that laws are written in, for masks in CPU memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapdrop import kernels
from mapdrop.spec.law import BlockAxis, Size
from mapdrop.spec.local_spec import Box, LocalSpec
from mapdrop.spec.numpy_coins import Bits, NumpySpace
from mapdrop.spec.words import Words, words

U64 = np.uint64


class CompiledSpace(NumpySpace):
    """The coins of a mask, drawn by the compiled kernels.

    `order` is the order of the coin axes in which a mask would best lie in memory, the outermost
    first.
    """

    def __init__(
        self,
        sizes: tuple[int, ...],
        key: int,
        step: int,
        threads: int,
        order: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__(sizes, key, step)
        self.threads = threads
        self.order: tuple[int, ...] = tuple(range(len(sizes))) if order is None else order
        self.kernels: Any = kernels.for_cpu()

    def draw(self, count: int, start: int) -> Words:
        """Return the words of the `count` coins from number `start` on."""
        drawn: Words = self.kernels.words(count, self.key, self.step, start, self.threads)
        return drawn

    def coins(self, threshold: int) -> Bits:
        """See `CoinSpace`: the words are never stored."""
        made: Bits = self.kernels.coins(self.sizes, self.key, self.step, threshold, self.threads)
        return made

    def eroded(self, threshold: int, blocks: tuple[BlockAxis, ...]) -> Bits:
        """See `CoinSpace`."""
        if not blocks:
            return self.coins(threshold)
        fast = kernels.for_blocks()
        assert fast is not None
        law = self.key, self.step, threshold, self.threads
        made: Bits = fast.kept(self.sizes, self.order, blocks, *law)
        return made


class BoxSpace(NumpySpace):
    """Those coins of a mask that a shard needs."""

    box: Box
    shape: tuple[Size, ...]
    threads: int

    def __init__(self, box: Box, key: int, step: int, threads: int) -> None:
        super().__init__(box.sizes, key, step)
        self.box, self.shape, self.threads = box, box.shape, threads

    def words(self, axis: int | None = None) -> Words:
        """See `CoinSpace`."""
        starts, run = self.box.runs(axis)
        numbers = starts.astype(U64)
        fast = kernels.for_cpu()
        if fast is None:
            every = numbers[:, None] + np.arange(run).astype(U64)
            drawn = words(every, self.key, self.step)
        else:
            drawn = fast.runs(numbers, run, self.key, self.step, self.threads)
        return drawn.reshape(tuple(1 if a == axis else n for a, n in enumerate(self.shape)))

    def erode(self, kept: Bits, block: BlockAxis) -> Bits:
        """See `CoinSpace`."""
        return super().erode(kept, self.box.local(block))


def to_values(coins: NDArray[Any], part: LocalSpec) -> NDArray[Any]:
    """Return an array along the box's axes along those of `part.binding`."""
    lined_up = coins.transpose(part.order).reshape(part.merged)
    for axis, take in enumerate(part.takes):
        if take is not None:
            lined_up = np.take(lined_up, take, axis)
    return np.asarray(lined_up, order="C")  # `ascontiguousarray` gives a scalar an axis.
