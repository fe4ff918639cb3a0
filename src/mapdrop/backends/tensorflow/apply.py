"""Apply masks to tensors: one linear step, which is its own derivative.

Backward keeps the coins, a bit of each: drawing them again takes longer than reading them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import tensorflow as tf

from mapdrop.backends.tensorflow.coins import drawn
from mapdrop.backends.tensorflow.frequent import Frequent
from mapdrop.backends.tensorflow.packed_bits import pack, unpack
from mapdrop.backends.tensorflow.seeds import Source
from mapdrop.backends.tensorflow.sizes import Fitted, as_shape, fit, fixed
from mapdrop.spec.mask_spec import BoundSpec, MaskSpec

Pass = Callable[..., tuple[tf.Tensor, ...]]


def dropped(x: tf.Tensor, source: Source, spec: MaskSpec) -> tf.Tensor:
    """Return x dropped, differentiable to any order."""
    bound, fitted = fit(x, spec, warn=source.rate is None)
    passes = _frequent(bound) if tf.executing_eagerly() else _passes(bound, fitted)
    return _linear(x, source.tensors, *passes)


@lru_cache(maxsize=128)  # A traced pass takes some 300 KB.
def _frequent(bound: BoundSpec) -> tuple[Pass, Pass]:
    """Return the passes of a shape, which are traced if they come often."""
    first, again = _passes(bound, fixed(bound.binding))
    return Frequent(first), Frequent(again)


def _passes(bound: BoundSpec, fitted: Fitted) -> tuple[Pass, Pass]:
    """Return a function of x and a source, and one of x and what the first kept of the mask.

    Both return x dropped, and what is kept of the mask: the packed coins and the scale, unless that
    is a number known before.
    """

    def first(x: tf.Tensor, *source: tf.Tensor) -> tuple[tf.Tensor, ...]:
        drawing = Source(*source)
        law = bound if drawing.rate is None else bound.at(drawing.rate)
        kept, scale = drawn(law, fitted.coins, drawing)
        held = () if isinstance(scale, float) else (scale,)
        return broadcast(x, fitted, kept, scale), pack(kept), *held

    def again(x: tf.Tensor, bits: tf.Tensor, *held: tf.Tensor) -> tuple[tf.Tensor, ...]:
        kept = unpack(bits, as_shape(fitted.coins))
        (scale,) = held or (bound.expected,)
        return broadcast(x, fitted, kept, scale), bits, *held

    return first, again


def _linear(x: tf.Tensor, given: Sequence[tf.Tensor], run: Pass, again: Pass) -> tf.Tensor:
    """Return the dropped x that `run` returns first: a step that is its own derivative."""
    shape, mask = x.shape, list[tf.Tensor]()  # All that the gradient knows of x and of the coins.
    held: list[tf.Tensor] = []

    @tf.custom_gradient
    def step(x: tf.Tensor) -> Any:
        # The tape must not record, and so keep, the operations inside.
        result, *mask[:] = run(tf.stop_gradient(x), *given)
        held.append(result)
        return held, gradient

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        return _linear(tf.ensure_shape(upstream, shape), mask, again, again)

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
