"""The samples that a residual branch runs for, and what it has to keep to, in TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from mapdrop.spec.branch import check_branch, check_inputs


def kept_rows(factors: tf.Tensor) -> tf.Tensor:
    """Return the indices of the samples to run the branch for; `factors` are 0 for the others.

    In a graph they are at least one, if there is any sample: there TensorFlow's gradient of a
    convolution fails for an empty batch. What the branch makes of it is multiplied by zero.
    """
    kept = tf.where(factors != 0)[:, 0]
    if tf.executing_eagerly():
        return kept
    lacking = tf.logical_and(tf.size(kept) == 0, tf.size(factors) > 0)
    return tf.concat([kept, tf.zeros([tf.cast(lacking, tf.int32)], kept.dtype)], 0)


def checked_inputs(x: tf.Tensor, inputs: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Return the inputs. Raises ValueError unless x has samples, and all of them have as many.

    What a graph does not know yet is checked when it runs (InvalidArgumentError).
    """
    first, *others = (_sizes(tensor) for tensor in (x, *inputs))
    check_inputs(first, others)
    found = []
    for number, (other, sizes) in enumerate(zip(inputs, others, strict=True)):
        checks = []
        if None in (first[0], sizes[0]):
            message = f"inputs[{number}] and x have as many samples along their first axes"
            checks = [tf.debugging.assert_equal(tf.shape(other)[0], tf.shape(x)[0], message)]
        found.append(_after(checks, other))
    return found


def checked_branch(came: tf.Tensor, given: tf.Tensor) -> tf.Tensor:
    """Return what a branch returned. Raises ValueError unless that has the shape it was given.

    What a graph does not know yet is checked when it runs (InvalidArgumentError).
    """
    if None not in (came.shape.rank, given.shape.rank):
        check_branch(_sizes(came), _sizes(given))
    if came.shape.is_fully_defined() and given.shape.is_fully_defined():
        return came
    message = "a residual branch returns the shape that it is given, which is added to x"
    came = _after([tf.debugging.assert_equal(tf.shape(came), tf.shape(given), message)], came)
    return tf.reshape(came, tf.shape(given))  # XLA leaves assertions out, and would broadcast.


def _after(checks: Sequence[Any], tensor: tf.Tensor) -> tf.Tensor:
    """Return a tensor that is not there before some checks are made."""
    if not checks or tf.executing_eagerly():
        return tensor
    with tf.control_dependencies(checks):
        return tf.identity(tensor)


def _sizes(tensor: tf.Tensor) -> list[int | None]:
    """Return the shape; one size that is not known where not even the rank is."""
    return [None] if tensor.shape.rank is None else tensor.shape.as_list()
