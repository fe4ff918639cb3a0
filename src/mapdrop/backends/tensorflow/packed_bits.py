"""Coins as bits, eight in a byte: what backward keeps of a mask."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

# Of eight bytes that are 0 or 1, a product with the first has their bits in its highest byte. A
# product with the second repeats a byte eight times, and the third selects another bit of each.
_GATHER = np.uint64(0x0102_0408_1020_4080)
_REPEAT = np.uint64(0x0101_0101_0101_0101)
_SELECT = np.uint64(0x8040_2010_0804_0201)
_FEW = 1 << 14  # Coins for which a byte each is less than the operations take to pack them.


def pack(coins: tf.Tensor) -> tf.Tensor:
    """Return the coins as bits: uint8, along one axis. Few are returned as they are."""
    count = coins.shape.num_elements()
    if count is not None and count < _FEW:
        return coins
    row = tf.cast(tf.reshape(coins, [-1]), tf.uint8)
    if count is None or count % 8:
        row = tf.pad(row, [[0, -tf.size(row) % 8]])
    eights = tf.bitcast(tf.reshape(row, [-1, 8]), tf.uint64)
    return tf.cast(tf.bitwise.right_shift(eights * _GATHER, np.uint64(56)), tf.uint8)


def unpack(bits: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
    """Return the coins of a shape (int64) from what `pack` made of them."""
    if bits.dtype == tf.bool:
        return bits
    eights = tf.bitwise.bitwise_and(tf.cast(bits, tf.uint64) * _REPEAT, _SELECT)
    row = tf.reshape(tf.cast(tf.bitcast(eights, tf.uint8), tf.bool), [-1])
    return tf.reshape(row[: tf.reduce_prod(shape)], shape)
