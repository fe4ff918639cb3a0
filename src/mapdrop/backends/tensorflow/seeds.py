"""Seed and step for TensorFlow's Philox operation, unsigned 64-bit tensors; and a variable rate.

They are never read by the host, so that they may be tensors of a graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from mapdrop.spec import seed as seeds
from mapdrop.spec.words import stream_words

PHILOX = 1  # The operation's name for the generator.
_TENSORS = (tf.Tensor, tf.Variable)
_INT64 = tf.int64.min, tf.int64.max


@dataclass(frozen=True)
class Source:
    """What is known of a mask when a graph runs.

    Attributes:
        key, counter: of its words; uint64, of shapes (1,) and (2,).
        rate: float64, of shape (); None where it is the spec's.
    """

    key: tf.Tensor
    counter: tf.Tensor
    rate: tf.Tensor | None = None

    @property
    def tensors(self) -> tuple[tf.Tensor, ...]:
        """Those that there are, in order."""
        return (
            (self.key, self.counter) if self.rate is None else (self.key, self.counter, self.rate)
        )


def source(seed: Any, stream: str | None, step: Any, rate: Any = None) -> Source:
    """Return the source of a seed (number, tensor, generator or None), a stream and a step.

    Args:
        rate: the two words of a variable rate, integers of any width.
    """
    p = None if rate is None else tf.bitcast(tf.cast(rate, tf.uint32), tf.float64)
    if isinstance(step, _TENSORS):
        counter = tf.concat([tf.zeros([1], tf.uint64), _bits(step, "step")], 0)
    else:  # One constant: eagerly, each operation costs as much as a thousand coins.
        counter = _constant(0, seeds.check_uint64(step, "step"))
    if isinstance(seed, _TENSORS):
        key = _bits(seed, "seed")
    elif seed is None or isinstance(seed, tf.random.Generator):
        key = _fresh(seed)
    else:
        number = seeds.key(seeds.check_uint64(seed, "seed"), stream)
        return Source(_constant(number), counter, p)
    return Source(key if stream is None else _hashed(key, stream), counter, p)


def _constant(*numbers: int) -> tf.Tensor:
    # In a graph, a list with numbers on both sides of 2**63 would be rounded to float64.
    return tf.constant(np.array(numbers, np.uint64))


def _bits(value: tf.Tensor | tf.Variable, name: str) -> tf.Tensor:
    """Return a tensor of one integer as uint64 of the same bits and shape (1,)."""
    tensor = tf.convert_to_tensor(value)
    if not tensor.dtype.is_integer or tensor.shape.num_elements() not in (1, None):
        raise ValueError(
            f"a {name} tensor has one integer, not shape {tensor.shape} of {tensor.dtype.name}"
        )
    if tensor.dtype != tf.uint64:
        tensor = tf.bitcast(tf.cast(tensor, tf.int64), tf.uint64)
    return tf.reshape(tensor, [1])


def _fresh(generator: tf.random.Generator | None) -> tf.Tensor:
    """Return 64 bits from the generator, or from what `tf.random.set_seed` governs."""
    if generator is not None:
        return generator.uniform_full_int([1], tf.uint64)
    drawn = tf.random.uniform([1], *_INT64, tf.int64)
    return tf.bitcast(drawn, tf.uint64)


def _hashed(key: tf.Tensor, stream: str) -> tf.Tensor:
    """Return the key of a stream: two words of Philox at the hash of the name."""
    a, b, c, d = stream_words(stream)
    return tf.raw_ops.StatelessRandomUniformFullIntV2(
        shape=[1],
        key=key,
        counter=_constant(a | b << 32, c | d << 32),
        alg=PHILOX,
        dtype=tf.uint64,
    )
