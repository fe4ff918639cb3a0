"""The specification in plain JAX operations: any device, any sharding, any transformation.

The same bits as `mapdrop.spec.reference`, which is the definition. A 64-bit number is a pair of
32-bit words, low and high; where an operation needs 64 bits, it has them whether the program
around it enables them or not. JAX's own Philox (`lax.rng_bit_generator`) is not used: XLA
scrambles its key, so its words are others.

Each coin draws the block of four words that its own lies in and takes one of them. To draw a block
once for its four coins takes a fourth of the arithmetic, but the four must then change places in
memory, which costs XLA on the CPU more than it saves, and ties a sharded array's devices together.
Where each coin stands for itself, every device makes the coins of its own part and asks nobody.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from numpy.typing import NDArray

from mapdrop.spec import reference as spec
from mapdrop.spec.mask_spec import BoundSpec

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
    return key if stream is None else hashed(key, spec.stream_words(stream))


def hashed(key: Pair, counter: tuple[int | Array, ...]) -> Pair:
    """The first two words of a counter's four."""
    a, b, c, d = (jnp.asarray(word, U32) for word in counter)
    low, high, *_ = philox((a, b, c, d), key)
    return low, high


def numbers(shape: tuple[int, ...], start: int = 0) -> Pair:
    """The row-major number of every place of the shape, from `start` on."""
    places = [lax.broadcasted_iota(U32, shape, axis) for axis in range(len(shape))]
    low, high = at_places(places, shape)
    start_low, start_high = map(U32, spec.split(start))
    carry = low + start_low < start_low
    return low + start_low, jnp.broadcast_to(high + start_high + carry, shape)


def at_places(places: list[Array], shape: tuple[int, ...]) -> Pair:
    """The numbers of some places of the shape: one uint32 array for each axis."""
    low = high = jnp.zeros((), U32)
    small = math.prod(shape) <= _LOW
    for place, step in zip(places, spec.strides(shape), strict=True):
        step_low, step_high = map(U32, spec.split(step))
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


def kept(plan: BoundSpec, key: Pair, step: Pair) -> Array:
    """The plan's coins: bool, True is kept."""
    law, shape = plan.law, plan.binding.coins
    if math.prod(shape) == 0:
        return jnp.zeros(shape, bool)
    shared = plan.binding.values >= _MANY * plan.binding.count
    drawn = words(shape, key, step, apart=shared)
    if law.block:
        centres = _below(drawn, spec.threshold(spec.centre_rate(law, shape)))
        return ~_dilate(centres & spec.inside(law, shape), law, shape)
    if law.independent:
        return ~_below(drawn, spec.threshold(law.p))
    axis = law.exact if law.balance is None else law.balance
    assert axis is not None
    others = shape[:axis] + shape[axis + 1 :]
    if law.exact is not None:
        quota = jnp.full(others, spec.survivors(law.p, shape[axis]), np.int32)
    else:
        low, high = map(U32, spec.split((2**32 - spec.threshold(law.p)) * shape[axis]))
        extra = words(others, key, step, math.prod(shape))
        quota = (high + (extra + low < low).astype(U32)).astype(np.int32)  # With the carry.
    return _largest(drawn, axis, jnp.expand_dims(quota, axis))


def factor(plan: BoundSpec, coins: Array, dtype: np.dtype[Any]) -> Array | NDArray[Any]:
    """What kept values are multiplied by: one number, or one for each sample, of the dtype."""
    if plan.counted_axes is None:
        return np.asarray(plan.expected, dtype)
    drawn = math.prod(coins.shape[axis] for axis in plan.counted_axes)
    # Found in float64 as everywhere: in float32 a count above 2**24 would be rounded before it
    # divides.
    with jax.enable_x64(True):
        survived = coins.sum(plan.counted_axes, keepdims=True, dtype=np.int64)
        counted = jnp.maximum(survived, 1).astype(np.float64)
        return jnp.where(survived > 0, np.float64(drawn) / counted, 0.0).astype(dtype)


def _below(drawn: Array, limit: int) -> Array:
    """Where a word is less than the limit, which may be 2**32."""
    return drawn < U32(limit) if limit <= _LOW else jnp.ones(drawn.shape, bool)


def _largest(drawn: Array, axis: int, quota: Array) -> Array:
    """Along `axis`, the `quota` coins with the largest words; ties go to the lower index."""
    low_is_large = ~drawn
    place = lax.broadcasted_iota(np.int32, drawn.shape, axis)
    order = lax.sort((low_is_large, place), dimension=axis, num_keys=2)
    last = jnp.maximum(quota - 1, 0)
    word, at = (jnp.take_along_axis(part, last, axis) for part in order)
    before = (low_is_large < word) | ((low_is_large == word) & (place <= at))
    return before & (quota > 0)


def _dilate(centres: Array, law: spec.Law, shape: tuple[int, ...]) -> Array:
    """Every place that the block of some centre covers."""
    for axis, k, *_ in spec.spans(law, shape):
        window = [k if a == axis else 1 for a in range(len(shape))]
        # A place is covered by centres from k - 1 - k//2 below it to k//2 above it.
        reach = [(k - 1 - k // 2, k // 2) if a == axis else (0, 0) for a in range(len(shape))]
        centres = lax.reduce_window(
            centres, np.False_, lax.bitwise_or, window, [1] * len(shape), reach
        )
    return centres
