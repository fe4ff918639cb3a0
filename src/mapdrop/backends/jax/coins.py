"""Words and laws in plain JAX operations: any device, any sharding, any transformation.

The same bits as `mapdrop.spec.words`, which is the definition. A 64-bit number is a pair of
32-bit words, low and high; where an operation needs 64 bits, it has them whether the program
around it enables them or not. JAX's own Philox (`lax.rng_bit_generator`) is not used: XLA
scrambles its key, so its words are others.

Where eight coins that follow each other lie along one axis, their two blocks of four words are
drawn once and kept as a byte, from which every coin reads its bit: words in the order of the coins
would have to change places in memory, which costs XLA on the CPU more than ten rounds for each.
Elsewhere each coin draws the block that its word lies in. Both ways every device of a sharded array
makes the coins of its own part and asks nobody, unless the last axis is cut within eight.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from numpy.typing import NDArray

from mapdrop.spec.law import (
    HALVINGS,
    BlockAxis,
    CoinSpace,
    Law,
    Size,
    kept,
    numbered,
    reaches,
    strides,
)
from mapdrop.spec.mask_spec import BoundSpec
from mapdrop.spec.words import split, stream_words

Pair = tuple[Array, Array]
U32 = np.uint32
_LOW = 0xFFFF_FFFF
_MANY = 10  # Values of a coin from which its word is made once and kept.
_M0, _M1, _W0, _W1 = U32(0xD251_1F53), U32(0xCD9E_8D57), U32(0x9E37_79B9), U32(0xBB67_AE85)


def philox(
    counter: tuple[Array, Array, Array, Array], key: Pair, apart: bool = False
) -> tuple[Array, ...]:
    """Four words for each counter; the parts are uint32 arrays that broadcast.

    XLA merges them into what reads them, which then makes a word for every value that it meets.
    `apart` does the last rounds in a loop of two, which XLA leaves alone: the words are made once
    and kept, at ten times the cost of each. The first rounds are outside, because they make all
    words depend on all that they come from, in which axes of a mesh too, as a loop's have to.
    """
    state = [*jnp.broadcast_arrays(*counter), *map(jnp.asarray, key)]
    mixed = _rounds(4, state)
    done = lax.fori_loop(0, 2, lambda _, s: _rounds(3, s), mixed) if apart else _rounds(6, mixed)
    a, b, c, d, *_ = done
    return a, b, c, d


def _rounds(number: int, state: list[Array]) -> list[Array]:
    a, b, c, d, k0, k1 = state
    for _ in range(number):
        left, right = _high(a, _M0), _high(c, _M1)
        a, b, c, d = right ^ b ^ k0, c * _M1, left ^ d ^ k1, a * _M0
        k0, k1 = k0 + _W0, k1 + _W1
    return [a, b, c, d, k0, k1]


def _high(word: Array, factor: np.uint32) -> Array:
    """The high word of a product. `lax.mulhi` would do, but XLA cannot partition it (0.10.2)."""
    with jax.enable_x64(True):
        product = word.astype(np.uint64) * np.uint64(factor)
        return (product >> np.uint64(32)).astype(U32)


def stream_key(key: Pair, stream: str | None) -> Pair:
    """The key for a seed and a stream's name."""
    return key if stream is None else hashed(key, stream_words(stream))


def hashed(key: Pair, counter: tuple[int | Array, ...]) -> Pair:
    """The first two words of a counter's four."""
    a, b, c, d = (jnp.asarray(word, U32) for word in counter)
    low, high, *_ = philox((a, b, c, d), key)
    return low, high


def numbers(shape: tuple[int, ...], start: int = 0) -> Pair:
    """The row-major number of every place of the shape, from `start` on."""
    places = [lax.broadcasted_iota(U32, shape, axis) for axis in range(len(shape))]
    low, high = at_places(places, shape)
    start_low, start_high = map(U32, split(start))
    carry = low + start_low < start_low
    return low + start_low, jnp.broadcast_to(high + start_high + carry, shape)


def at_places(places: list[Array], shape: tuple[int, ...]) -> Pair:
    """The numbers of some places of the shape: one uint32 array for each axis."""
    low = high = jnp.zeros((), U32)
    small = math.prod(shape) <= _LOW
    for place, step in zip(places, strides(shape), strict=True):
        step_low, step_high = map(U32, split(step))
        added = place * step_low
        low = low + added
        if not small:
            high = high + _high(place, step_low) + place * step_high + (low < added)
    return low, high


def words(
    shape: tuple[int, ...], key: Pair, step: Pair, start: int = 0, apart: bool = False
) -> Array:
    """The words of the coins of the shape, the first of which has number `start`."""
    low, high = numbers(shape, start)
    block = (low >> U32(2)) | (high << U32(30)), high >> U32(2)
    lanes = (jnp.broadcast_to(lane, shape) for lane in philox((*block, *step), key, apart))
    return lax.select_n((low & U32(3)).astype(np.int32), *lanes)


class JaxSpace(CoinSpace[Array, Array]):
    """The coins of a mask; factors are of `dtype`."""

    sizes: tuple[Size, ...]
    shape: tuple[Size, ...]
    key: Pair
    step: Pair
    dtype: np.dtype[Any]

    def __init__(self, bound: BoundSpec, key: Pair, step: Pair, dtype: np.dtype[Any]) -> None:
        self.sizes = self.shape = bound.binding.coins
        self.key, self.step, self.dtype = key, step, dtype
        self.shared: bool = bound.binding.values >= _MANY * bound.binding.count

    def words(self, axis: int | None = None) -> Array:
        """See `CoinSpace`."""
        shape, start = numbered(self.sizes, axis)
        return words(shape, self.key, self.step, start, apart=self.shared and axis is None)

    def coins(self, threshold: Any) -> Array:
        """See `CoinSpace`."""
        *rows, n = self.sizes or (1,)
        if n % 8:
            return super().coins(threshold)
        place = lax.broadcasted_iota(np.uint8, (*rows, n // 8, 2), len(rows) + 1)
        bits = jnp.zeros((), np.uint8)
        for lane, word in enumerate(philox((*numbers(place.shape), *self.step), self.key)):
            kept = self.at_least(word, threshold).astype(np.uint8)
            bits = bits | kept << (place * np.uint8(4) + np.uint8(lane))
        # A sum and a barrier, or XLA would draw a byte again for each coin that reads it.
        eight = lax.optimization_barrier(bits.sum(-1, keepdims=True, dtype=np.uint8))
        each: Array = eight >> np.arange(8, dtype=np.uint8) & np.uint8(1) != 0
        return each.reshape(self.sizes)

    def at_least(self, words: Array, threshold: Any) -> Array:
        """See `CoinSpace`."""
        return words >= U32(threshold) if threshold <= _LOW else jnp.zeros(words.shape, bool)

    def high_word(self, number: int, words: Array) -> Array:
        """See `CoinSpace`."""
        low, high = map(U32, split(number))
        return high + (words + low < low).astype(U32)  # With the carry.

    def largest(self, words: Array, axis: int, quota: int | Array) -> Array:
        """See `CoinSpace`."""
        line = (*words.shape[:axis], 1, *words.shape[axis + 1 :])
        many = jnp.broadcast_to(jnp.asarray(quota, np.int32), line)
        low_is_large = ~words
        place = lax.broadcasted_iota(np.int32, words.shape, axis)
        order = lax.sort((low_is_large, place), dimension=axis, num_keys=2)
        last = jnp.maximum(many - 1, 0)
        word, at = (jnp.take_along_axis(part, last, axis) for part in order)
        before = (low_is_large < word) | ((low_is_large == word) & (place <= at))
        return before & (many > 0)

    def erode(self, kept: Array, block: BlockAxis) -> Array:
        """See `CoinSpace`."""
        axis, k, n, first, last = block
        place = np.arange(n).reshape([n if a == axis else 1 for a in range(kept.ndim)])
        centres = ~kept & (first <= place) & (place <= last)
        window = [k if a == axis else 1 for a in range(kept.ndim)]
        # A place is covered by centres from k - 1 - k//2 below it to k//2 above it.
        reach = [(k - 1 - k // 2, k // 2) if a == axis else (0, 0) for a in range(kept.ndim)]
        dropped: Array = lax.reduce_window(
            centres, np.False_, lax.bitwise_or, window, [1] * kept.ndim, reach
        )
        return ~dropped

    def count(self, kept: Array, axes: tuple[int, ...]) -> Array:
        """See `CoinSpace`."""
        with jax.enable_x64(True):
            return kept.sum(axes, keepdims=True, dtype=np.int64)

    def ratio(self, drawn: int, kept: Array) -> Array:
        """See `CoinSpace`; rounded to `dtype`.

        In float32 a count above 2**24 would be rounded before it divides.
        """
        with jax.enable_x64(True):
            counted = jnp.maximum(kept, 1).astype(np.float64)
            return jnp.where(kept > 0, np.float64(drawn) / counted, 0.0).astype(self.dtype)


class VariableRateSpace(JaxSpace):
    """The coins of a mask whose law has a traced rate, of float64."""

    def threshold(self, law: Law) -> Array:
        """See `CoinSpace`; of uint64."""
        with jax.enable_x64(True):
            p = _centre_rate(law, self.sizes) if law.block else law.p
            return jnp.round(p * 2.0**32).astype(np.uint64)

    def at_least(self, words: Array, threshold: int | Array) -> Array:
        """See `CoinSpace`."""
        with jax.enable_x64(True):
            return words.astype(np.uint64) >= threshold

    def quotas(self, law: Law, words: Array) -> Array:
        """See `CoinSpace`."""
        assert law.axis is not None
        with jax.enable_x64(True):
            kept = np.uint64(2**32) - self.threshold(law)
            total = kept * np.uint64(self.sizes[law.axis]) + words.astype(np.uint64)
            return (total >> np.uint64(32)).astype(np.int32)

    def survivors(self, p: Array, n: int) -> Array:
        """See `CoinSpace`."""
        with jax.enable_x64(True):
            return jnp.round((1 - p) * np.float64(n)).astype(np.int32)

    def expected(self, law: Law) -> Array:
        """See `CoinSpace`; rounded to `dtype`."""
        if law.exact is not None:
            n = self.sizes[law.exact]
            return self.ratio(n, self.survivors(law.p, n))
        with jax.enable_x64(True):
            return jnp.where(law.p < 1, 1 / (1 - law.p), 0.0).astype(self.dtype)


def _centre_rate(law: Law, sizes: tuple[int, ...]) -> Array:
    """Return the probability of a block's centre in float64, as `centre_rate` finds it."""
    number, times = reaches(law, sizes)

    def halve(_: int, ends: Pair) -> Pair:
        low, high = ends
        q = (low + high) / 2
        mean = -jnp.expm1(number * jnp.log1p(-q)) @ times / times.sum()
        enough = (q == 1) | (mean >= law.p)
        return jnp.where(enough, low, q), jnp.where(enough, q, high)

    _, high = lax.fori_loop(0, HALVINGS, halve, (jnp.zeros_like(law.p), jnp.ones_like(law.p)))
    return jnp.where(law.p < 1, high, law.p)


def number_of(words: Array) -> Array:
    """Return the number in float64 that has these words, (low, high)."""
    with jax.enable_x64(True):
        return lax.bitcast_convert_type(words, np.float64)


def drawn(
    bound: BoundSpec, key: Pair, step: Pair, dtype: np.dtype[Any]
) -> tuple[Array, Array | NDArray[Any]]:
    """Return the coins (bool, True is kept), and what kept values are multiplied by, of `dtype`."""
    kind = VariableRateSpace if isinstance(bound.law.p, Array) else JaxSpace
    space = kind(bound, key, step, dtype)
    coins = kept(bound.law, space)
    factor = bound.factor(space, coins)
    return coins, np.asarray(factor, dtype) if isinstance(factor, float) else factor
