"""The specification in TensorFlow's operations: eager, in a graph, and compiled by XLA.

The same bits as `mapdrop.spec.reference`, which is the definition. A word is compared as the
integer it is; uniform floats in x's dtype would have too few values for the rate.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from mapdrop.backends.tensorflow.seeds import Source, words
from mapdrop.backends.tensorflow.sizes import Size, as_shape, product
from mapdrop.spec import reference as spec
from mapdrop.spec.mask_spec import BoundSpec

_LOW = 0xFFFF_FFFF


def kept(law: spec.Law, coins: tuple[Size, ...], source: Source) -> tf.Tensor:
    """The coins, of the shape `coins`: bool, True is kept."""
    if law.block:
        centres = ~_at_least(words(as_shape(coins), source), _centre_threshold(law, coins))
        return ~_dilate(centres, law, coins)
    if law.independent:
        return _at_least(words(as_shape(coins), source), spec.threshold(law.p))
    axis = law.exact if law.balance is None else law.balance
    assert axis is not None
    n = coins[axis]
    if law.exact is not None:
        drawn = words(as_shape(coins), source)
        return _largest(tf.cast(drawn, tf.int64), axis, n, survivors(law.p, n))
    count = product(coins)
    lines = (*coins[:axis], 1, *coins[axis + 1 :])
    both = tf.cast(words(as_shape([count + product(lines)]), source), tf.int64)
    room = (2**32 - spec.threshold(law.p)) * tf.cast(n, tf.int64)
    extra = tf.reshape(both[count:], as_shape(lines))
    quota = tf.bitwise.right_shift(room + extra, tf.constant(32, tf.int64))
    return _largest(tf.reshape(both[:count], as_shape(coins)), axis, n, quota)


def factor(plan: BoundSpec, coins: tuple[Size, ...], kept: tf.Tensor) -> float | tf.Tensor:
    """What kept values are multiplied by; a float64 tensor where it is not known beforehand."""
    if plan.counted_axes is not None:
        count = tf.reduce_sum(tf.cast(kept, tf.int64), list(plan.counted_axes), keepdims=True)
        return _ratio(product([coins[axis] for axis in plan.counted_axes]), count)
    if plan.scale is None or plan.law.exact is None:
        return plan.expected
    n = coins[plan.law.exact]
    return plan.expected if isinstance(n, int) else _ratio(n, survivors(plan.law.p, n))


def survivors(p: float, n: Size) -> Size:
    """How many of n coins `exact=` keeps."""
    if isinstance(n, int):
        return spec.survivors(p, n)
    return tf.cast(tf.round((1 - p) * tf.cast(n, tf.float64)), tf.int64)


def _ratio(drawn: Size, kept: tf.Tensor) -> tf.Tensor:
    """drawn / kept, and 0 where nothing was kept."""
    some = tf.cast(tf.maximum(kept, 1), tf.float64)
    ratio = tf.cast(drawn, tf.float64) / some
    return tf.where(kept > 0, ratio, tf.zeros_like(ratio))


def _at_least(drawn: tf.Tensor, threshold: int | tf.Tensor) -> tf.Tensor:
    """Which words reach the threshold, which is from 0 to 2**32: one more than fits."""
    if isinstance(threshold, int):
        if threshold > _LOW:
            return tf.zeros_like(drawn, tf.bool)
        return drawn >= tf.constant(threshold, tf.uint32)
    return tf.cast(drawn, tf.int64) >= threshold


def _largest(drawn: tf.Tensor, axis: int, n: Size, quota: Size) -> tf.Tensor:
    """Along the axis, the `quota` coins with the largest words; ties go to the lower index."""
    place = tf.range(tf.cast(n, tf.int64), dtype=tf.int64)
    place = tf.reshape(place, [-1] + [1] * (drawn.shape.rank - 1 - axis))
    order = (_LOW - drawn) * tf.cast(n, tf.int64) + place
    # The last that survives, or -1 where none does: a maximum, because a line may be empty.
    first = tf.where(place < quota, tf.sort(order, axis), tf.constant(-1, tf.int64))
    return order <= tf.reduce_max(first, axis, keepdims=True)


def _dilate(centres: tf.Tensor, law: spec.Law, coins: tuple[Size, ...]) -> tf.Tensor:
    """Every place that the block of some centre covers, an axis at a time."""
    for axis, size in law.block:
        low, high = _reach(law, coins[axis], size)
        # How many centres lie before each place; in reach are those before the end, less others.
        before = tf.cumsum(tf.cast(centres, tf.int32), axis)
        before = tf.pad(before, [[int(a == axis), 0] for a in range(len(coins))])
        upper, lower = tf.gather(before, high + 1, axis=axis), tf.gather(before, low, axis=axis)
        centres = upper > lower
    return centres


def _reach(law: spec.Law, n: Size, size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """For each place of an axis, the first and the last centre whose block covers it."""
    n = tf.cast(n, tf.int64)
    k = tf.minimum(tf.constant(size, tf.int64), n)
    first, last = (k // 2, n - k + k // 2) if law.region == "valid" else (0 * n, n - 1)
    place = tf.range(n, dtype=tf.int64)
    return tf.maximum(place - (k - 1) + k // 2, first), tf.minimum(place + k // 2, last)


def _centre_threshold(law: spec.Law, coins: tuple[Size, ...]) -> int | tf.Tensor:
    """The threshold of the centres' probability; in the graph where a map's size is unknown."""
    if any(isinstance(n, int) and n == 0 for n in coins):
        return 0  # There is no place that could be dropped.
    if all(isinstance(coins[axis], int) for axis, _ in law.block):
        known = tuple(n if isinstance(n, int) else 1 for n in coins)
        return spec.threshold(spec.centre_rate(law, known))
    number = tf.ones([1], tf.float64)  # Centres in reach of each place.
    for axis, size in law.block:
        low, high = _reach(law, coins[axis], size)
        number = tf.reshape(number[:, None] * tf.cast(high - low + 1, tf.float64), [-1])

    def halve(low: tf.Tensor, high: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        q = (low + high) / 2
        mean = tf.reduce_mean(-tf.math.expm1(number * tf.math.log1p(-q)))
        enough = (mean >= law.p) | (q == 1)
        return tf.where(enough, low, q), tf.where(enough, q, high)

    def going_on(*_: Any) -> bool:
        return True

    ends = tf.constant(0.0, tf.float64), tf.constant(1.0, tf.float64)
    _, high = tf.while_loop(going_on, halve, ends, maximum_iterations=64)
    return tf.cast(tf.round(high * 2**32), tf.int64)
