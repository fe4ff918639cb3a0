"""Apply masks to tensors: one linear step, which is its own derivative.

Backward keeps the coins, a bit of each: drawing them again takes longer than reading them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from mapdrop.backends.tensorflow.coins import drawn
from mapdrop.backends.tensorflow.packed_bits import pack, unpack
from mapdrop.backends.tensorflow.seeds import Source
from mapdrop.backends.tensorflow.sizes import Fitted, as_shape, fit
from mapdrop.spec.mask_spec import MaskSpec


def dropped(x: tf.Tensor, source: Source, spec: MaskSpec) -> tf.Tensor:
    """Return x dropped, differentiable to any order."""
    variable = source.rate is not None
    bound, fitted = fit(x, spec, warn=not variable)
    if variable:
        bound = bound.at(source.rate)
    return _linear(x, fitted, *drawn(bound, fitted.coins, source))


def _linear(x: tf.Tensor, fitted: Fitted, kept: tf.Tensor, scale: Any) -> tf.Tensor:
    """Return x times the scale where the coins keep it: a step that is its own derivative."""
    shape, bits = x.shape, pack(kept)  # All that the gradient knows of x and of the coins.
    held: list[tf.Tensor] = []

    @tf.custom_gradient
    def step(x: tf.Tensor) -> Any:
        # The tape must not record, and so keep, the operations inside.
        held.append(broadcast(tf.stop_gradient(x), fitted, kept, scale))
        return held, gradient

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        upstream = tf.ensure_shape(upstream, shape)
        return _linear(upstream, fitted, unpack(bits, as_shape(fitted.coins)), scale)

    (result,) = step(x)
    if tf.executing_eagerly():
        held[0] = tf.zeros([])  # Else the tape keeps the result, in what was returned to it.
    else:
        result.set_shape(shape)
    return result


def broadcast(x: tf.Tensor, fitted: Fitted, kept: tf.Tensor, scale: Any) -> tf.Tensor:
    """Return x times the scale where the coins keep it, and 0 elsewhere."""
    wide = _wide(x.dtype, scale)
    binding = fitted.binding
    order, _ = binding.lineup
    owners = [axis for part in binding.axes for _, axis in part]
    # A Python number would become a float32.
    factor = tf.cast(tf.convert_to_tensor(scale, tf.float64), wide)
    if None not in owners and isinstance(scale, float):
        # As many coins as values: making factors of them would take two passes.
        bits = tf.reshape(tf.transpose(kept, order), [-1])
        values = tf.reshape(tf.cast(x, wide), [-1]) * factor
        product = tf.where(bits, values, tf.zeros([], wide))
    else:
        met = zip(owners, fitted.factors, strict=True)
        lined_up = as_shape([1 if a is None else n for a, n in met])
        each = tf.reshape(tf.transpose(tf.cast(kept, wide) * factor, order), lined_up)
        values = tf.reshape(tf.cast(x, wide), as_shape(fitted.factors))
        # 0 where the factor is 0, infinity and NaN too: one pass, where a select would be another.
        product = tf.math.multiply_no_nan(values, each)
    return tf.reshape(tf.cast(product, x.dtype), as_shape(fitted.shape))


def scaled(x: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
    """Return x times a factor (float64) for each index of its first axis, and 0 where that is 0."""
    wide = x.dtype if x.dtype.is_complex or x.dtype == tf.float64 else tf.float32
    shape = tf.concat([[-1], tf.ones(tf.rank(x) - 1, tf.int32)], 0)
    each = tf.reshape(tf.cast(factors, wide), shape)
    product = tf.cast(tf.cast(x, wide) * each, x.dtype)
    return tf.where(each != 0, product, tf.zeros((), x.dtype))


def _wide(dtype: tf.DType, scale: Any) -> tf.DType:
    """Return the dtype of the product: float32 for 16 bits, unless 16 bits give the same.

    The product of two 16-bit floats fits into 32 bits, so that their own product is what is rounded
    once. Each change of the dtype takes longer than the product.
    """
    if dtype == tf.float64:
        return tf.float64
    with np.errstate(over="ignore"):  # Of a scale beyond the dtype's largest number.
        exact = isinstance(scale, float) and float(np.asarray(scale, dtype.as_numpy_dtype)) == scale
    return dtype if exact else tf.float32
