"""drop() for TensorFlow's tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from mapdrop.backends.tensorflow.apply import broadcast, dropped, scaled
from mapdrop.backends.tensorflow.rows import checked_branch, checked_inputs, kept_rows
from mapdrop.backends.tensorflow.seeds import source
from mapdrop.backends.tensorflow.sizes import fit, fixed
from mapdrop.spec import mask_spec as specs
from mapdrop.spec import seed as seeds
from mapdrop.spec.branch import check_arrays
from mapdrop.spec.mask_spec import MaskSpec
from mapdrop.spec.pattern import Pattern
from mapdrop.spec.variable_rate import RateWords, VariableSpec, variable_spec

_DTYPES = (
    tf.float16,
    tf.bfloat16,
    tf.float32,
    tf.float64,
    tf.complex64,
    tf.complex128,
)


def mask_spec(
    pattern: str | Pattern, p: float | RateWords, *options: Any
) -> MaskSpec | VariableSpec:
    """Return the spec of these arguments."""
    if isinstance(p, RateWords):
        return variable_spec(pattern, p, *options)
    return specs.mask_spec(pattern, p, *options)


@tf.autograph.experimental.do_not_convert
def drop(
    x: tf.Tensor | tf.Variable,
    spec: MaskSpec | VariableSpec,
    *,
    seed: Any = None,
    stream: str | None = None,
    step: Any = 0,
    inplace: bool = False,
    out: Any = None,
) -> tf.Tensor:
    """See `mapdrop.drop`."""
    if inplace or out is not None:
        raise TypeError(
            "inplace= and out= write into arrays, and TensorFlow's tensors never change: "
            "take the result; a variable's .assign(result) stores it"
        )
    _check_dtype(x)
    tensor = tf.convert_to_tensor(x)
    known, rate = (
        (spec.nominal, spec.rate.words) if isinstance(spec, VariableSpec) else (spec, None)
    )
    if known.p == 0:
        fit(tensor, known)  # For its checks.
        return x
    origin = source(seed, seeds.check_stream(stream), step, rate)
    if not tensor.dtype.is_complex:
        return dropped(tensor, origin, known)
    parts = tf.math.real(tensor), tf.math.imag(tensor)
    return tf.complex(*(dropped(part, origin, known) for part in parts))


@tf.autograph.experimental.do_not_convert
def residual(
    branch: Callable[..., tf.Tensor],
    x: tf.Tensor | tf.Variable,
    inputs: tuple[tf.Tensor, ...],
    spec: MaskSpec,
    *,
    seed: Any = None,
    stream: str | None = None,
    step: Any = 0,
) -> tf.Tensor:
    """See `mapdrop.residual`."""
    rows = spec.rows
    check_arrays(inputs, (tf.Tensor, tf.Variable, np.ndarray))
    tensor, others = tf.convert_to_tensor(x), [tf.convert_to_tensor(other) for other in inputs]
    fit(tensor, spec, warn=False)  # For its checks.
    others = checked_inputs(tensor, others)
    samples = tf.ones(tf.shape(tensor)[:1], tf.float64)
    samples.set_shape(tensor.shape[:1])
    factors = drop(samples, rows, seed=seed, stream=stream, step=step)
    kept = kept_rows(factors)
    given = tf.gather(tensor, kept)
    came = tf.convert_to_tensor(branch(given, *(tf.gather(other, kept) for other in others)))
    _check_dtype(came)
    added = scaled(checked_branch(came, given), tf.gather(factors, kept))
    if tensor.shape.num_elements() == 0:  # Nothing can be scattered into no values.
        return tensor + tf.reduce_sum(added)  # So that parameters have gradients, of zeros.
    return tf.tensor_scatter_nd_add(tensor, kept[:, None], added)


@tf.autograph.experimental.do_not_convert
def apply(x: tf.Tensor | tf.Variable, mask: Any) -> tf.Tensor:
    """Apply a `mapdrop.Mask` to x."""
    _check_dtype(x)
    tensor, kept = tf.convert_to_tensor(x), tf.constant(mask.coins)
    if tensor.dtype.is_complex:
        return tf.complex(apply(tf.math.real(tensor), mask), apply(tf.math.imag(tensor), mask))
    return broadcast(tensor, fixed(mask.binding), kept, mask.scale)


def traced(_: Any) -> bool:
    """Whether a graph is being built, which freezes Python values."""
    return not tf.executing_eagerly()


def _check_dtype(x: tf.Tensor | tf.Variable) -> None:
    if x.dtype not in _DTYPES:
        raise TypeError(
            "mapdrop works on float16, bfloat16, float32, float64 and complex tensors, not on "
            f"{x.dtype.name}: kept values are scaled, which needs floats; "
            "tf.cast(x, tf.float32) makes them"
        )
