"""Laws in TensorFlow's operations: eager, in a graph, and compiled by XLA.

The same bits as `mapdrop.spec.words`, which is the definition. A word is compared as the
integer it is; uniform floats in x's dtype would have too few values for the rate.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import tensorflow as tf

from mapdrop.backends.tensorflow.seeds import PHILOX, Source
from mapdrop.backends.tensorflow.sizes import as_shape, product
from mapdrop.spec.law import (
    HALVINGS,
    BlockAxis,
    CoinSpace,
    Law,
    Size,
    block_axes,
    centre_rate,
    kept,
    threshold,
)
from mapdrop.spec.mask_spec import BoundSpec

_LOW = 0xFFFF_FFFF
# Of many coins: the least in a part, and the most parts. Under XLA, which makes one loop of them,
# each part of a smaller array takes longer than the caches save.
_PART, _PARTS = 1 << 20, 16


def words(shape: tf.Tensor, source: Source) -> tf.Tensor:
    """Return the words of the coins from number 0 on, uint32, row-major in the shape."""
    return tf.raw_ops.StatelessRandomUniformFullIntV2(
        shape=shape, key=source.key, counter=source.counter, alg=PHILOX, dtype=tf.uint32
    )


class TensorFlowSpace(CoinSpace[tf.Tensor, tf.Tensor]):
    """The coins of a mask, of which a graph may learn the sizes only when it runs."""

    sizes: tuple[Size, ...]
    shape: tuple[Size, ...]

    def __init__(self, sizes: tuple[Size, ...], source: Source) -> None:
        self.sizes = self.shape = sizes
        self.source = source

    def words(self, axis: int | None = None) -> tf.Tensor:
        """See `CoinSpace`."""
        if axis is None:
            return words(as_shape(self.sizes), self.source)
        # The generator starts at a block of four words, so up to three come before the lines'.
        lines = as_shape((*self.sizes[:axis], 1, *self.sizes[axis + 1 :]))
        start = tf.convert_to_tensor(product(self.sizes), tf.int64)
        skipped = start % 4
        drawn = self._run(start // 4, skipped + tf.reduce_prod(lines))
        return tf.reshape(drawn[skipped:], lines)

    def coins(self, threshold: Size) -> tf.Tensor:
        """See `CoinSpace`. A CPU draws many of them part by part, whose words fit in its cache."""
        count = product(self.sizes)
        if tf.is_tensor(count) or count < 2 * _PART or not only_cpus():
            return super().coins(threshold)
        part = max(_PART, -(-count // (4 * _PARTS)) * 4)
        drawn = [
            self.at_least(self._run(first // 4, min(part, count - first)), threshold)
            for first in range(0, count, part)
        ]
        return tf.reshape(tf.concat(drawn, 0), self.sizes)

    def _run(self, block: Size, count: Size) -> tf.Tensor:
        """Return the words of `count` coins from the first of a block of four on."""
        counter = tf.stack([tf.cast(block, tf.uint64), self.source.counter[1]])
        source = replace(self.source, counter=counter)
        return words(as_shape([count]), source)

    def at_least(self, words: tf.Tensor, threshold: Size) -> tf.Tensor:
        """See `CoinSpace`."""
        if not isinstance(threshold, int):
            return tf.cast(words, tf.int64) >= threshold
        if threshold > _LOW:
            return tf.zeros_like(words, tf.bool)
        return words >= tf.constant(threshold, tf.uint32)

    def high_word(self, number: Size, words: tf.Tensor) -> tf.Tensor:
        """See `CoinSpace`."""
        total = tf.convert_to_tensor(number, tf.int64) + tf.cast(words, tf.int64)
        return tf.bitwise.right_shift(total, tf.constant(32, tf.int64))

    def largest(self, words: tf.Tensor, axis: int, quota: Size) -> tf.Tensor:
        """See `CoinSpace`."""
        n = tf.cast(self.sizes[axis], tf.int64)
        place = tf.reshape(tf.range(n), [-1] + [1] * (len(self.sizes) - 1 - axis))
        order = (_LOW - tf.cast(words, tf.int64)) * n + place
        # The last that survives, or -1 where none does: a maximum, because a line may be empty.
        first = tf.where(place < quota, tf.sort(order, axis), tf.constant(-1, tf.int64))
        return order <= tf.reduce_max(first, axis, keepdims=True)

    def erode(self, kept: tf.Tensor, block: BlockAxis) -> tf.Tensor:
        """See `CoinSpace`."""
        low, high = _reach(block)
        # How many centres lie before each place; in reach are those before the end, less others.
        before = tf.cumsum(tf.cast(~kept, tf.int32), block.axis)
        before = tf.pad(before, [[int(a == block.axis), 0] for a in range(len(self.sizes))])
        upper = tf.gather(before, high + 1, axis=block.axis)
        return upper <= tf.gather(before, low, axis=block.axis)

    def count(self, kept: tf.Tensor, axes: tuple[int, ...]) -> tf.Tensor:
        """See `CoinSpace`."""
        return tf.reduce_sum(tf.cast(kept, tf.int64), list(axes), keepdims=True)

    def ratio(self, drawn: Size, kept: tf.Tensor) -> tf.Tensor:
        """See `CoinSpace`."""
        ratio = tf.cast(drawn, tf.float64) / tf.cast(tf.maximum(kept, 1), tf.float64)
        return tf.where(kept > 0, ratio, tf.zeros_like(ratio))

    def survivors(self, p: Any, n: Size) -> Size:
        """See `CoinSpace`."""
        if not (tf.is_tensor(p) or tf.is_tensor(n)):
            return super().survivors(p, n)
        return tf.cast(tf.round((1 - p) * tf.cast(n, tf.float64)), tf.int64)

    def block_axes(self, law: Law) -> tuple[BlockAxis, ...]:
        """See `CoinSpace`."""
        return block_axes(law, self.sizes, _minimum)

    def threshold(self, law: Law) -> Size:
        """See `CoinSpace`; found in the graph where a map's size or the rate is unknown."""
        if not law.block:
            return _rounded(law.p) if tf.is_tensor(law.p) else threshold(law.p)
        if not any(map(tf.is_tensor, (law.p, *(self.sizes[axis] for axis, _ in law.block)))):
            known = tuple(n if isinstance(n, int) else 1 for n in self.sizes)
            return threshold(centre_rate(law, known))
        return _rounded(_centre_rate(law.p, self.block_axes(law)))

    def expected(self, law: Law) -> float | tf.Tensor:
        """See `CoinSpace`."""
        n = None if law.exact is None else self.sizes[law.exact]
        if not (tf.is_tensor(law.p) or tf.is_tensor(n)):
            return super().expected(law)
        if n is not None:
            return self.ratio(n, self.survivors(law.p, n))
        return tf.where(law.p < 1, 1 / (1 - law.p), tf.zeros([], tf.float64))


def drawn(
    bound: BoundSpec, sizes: tuple[Size, ...], source: Source
) -> tuple[tf.Tensor, float | tf.Tensor]:
    """Return the coins (bool, True is kept), and what kept values are multiplied by.

    A factor that is known only when the graph runs is a float64 tensor. `sizes` are the coins'
    real sizes: those of `bound` are the least that fit.
    """
    space = TensorFlowSpace(sizes, source)
    coins = kept(bound.law, space)
    return coins, bound.factor(space, coins)


@cache
def only_cpus() -> bool:
    """Whether there are CPUs alone, as far as TensorFlow sees."""
    return all(device.device_type == "CPU" for device in tf.config.list_physical_devices())


def _minimum(n: Size, size: int) -> Size:
    return min(n, size) if isinstance(n, int) else tf.minimum(n, tf.constant(size, tf.int64))


def _reach(block: BlockAxis) -> tuple[tf.Tensor, tf.Tensor]:
    """Return for each place of an axis the first and the last centre whose block covers it."""
    place, k = tf.range(tf.cast(block.length, tf.int64)), block.size
    return tf.maximum(place - (k - 1) + k // 2, block.first), tf.minimum(place + k // 2, block.last)


def _rounded(p: tf.Tensor) -> tf.Tensor:
    """Return the threshold of a rate."""
    return tf.cast(tf.round(p * 2**32), tf.int64)


def _centre_rate(p: float | tf.Tensor, block_axes: tuple[BlockAxis, ...]) -> tf.Tensor:
    """Return the centres' probability in float64, as `centre_rate` finds it."""
    number = tf.ones([1], tf.float64)  # Centres in reach of each place.
    for block in block_axes:
        low, high = _reach(block)
        number = tf.reshape(number[:, None] * tf.cast(high - low + 1, tf.float64), [-1])

    def halve(low: tf.Tensor, high: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        q = (low + high) / 2
        mean = tf.reduce_mean(-tf.math.expm1(number * tf.math.log1p(-q)))
        enough = (mean >= p) | (q == 1)
        return tf.where(enough, low, q), tf.where(enough, q, high)

    def going_on(*_: Any) -> bool:
        return True

    ends = tf.constant(0.0, tf.float64), tf.constant(1.0, tf.float64)
    _, high = tf.while_loop(going_on, halve, ends, maximum_iterations=HALVINGS)
    return tf.where(tf.convert_to_tensor(p, tf.float64) < 1, high, tf.ones([], tf.float64))
