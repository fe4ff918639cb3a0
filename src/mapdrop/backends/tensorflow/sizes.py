"""A pattern fitted to a tensor, whose sizes may be known only when the graph runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import tensorflow as tf

from mapdrop.spec.binding import Binding
from mapdrop.spec.law import Size
from mapdrop.spec.mask_spec import BoundSpec, MaskSpec, Sizes
from mapdrop.spec.pattern import Axis, Pattern, PatternError
from mapdrop.spec.symbolic import Shape, axes_of, bind_symbolic, known_sizes


@dataclass(frozen=True)
class Fitted:
    """A binding with the real sizes.

    `factors` are the sizes of the axes split into their factors, `coins` those of the coin axes.
    """

    binding: Binding
    shape: tuple[Size, ...]
    factors: tuple[Size, ...]
    coins: tuple[Size, ...]


def fit(x: tf.Tensor, spec: MaskSpec, warn: bool = True) -> tuple[BoundSpec, Fitted]:
    """Bind a spec to x. Raises PatternError, or in a running graph InvalidArgumentError.

    The bound spec is that of the least shape where sizes are unknown: its law is the real one.
    `warn` is as for `MaskSpec.bind`.
    """
    if x.shape.is_fully_defined():
        bound = spec.bind(tuple(x.shape), warn)
        return bound, fixed(bound.binding)
    known = _known(x.shape, spec.pattern)
    bound = bind_symbolic(spec, known)
    running = tf.shape(x, out_type=tf.int64)
    shape = tuple(running[axis] if n is None else n for axis, n in enumerate(known))
    factors: list[Size] = []
    for axes, size, split in zip(
        axes_of(spec.pattern, len(shape)), shape, bound.binding.axes, strict=True
    ):
        known_factors = [n for n, _ in split]
        factors += known_factors if isinstance(size, int) else _split(axes, size, spec.sizes)
    owners = [axis for split in bound.binding.axes for _, axis in split]
    size_of = dict(zip(owners, factors, strict=True))
    coins = tuple(size_of[axis] for axis in range(len(bound.binding.coins)))
    return bound, Fitted(bound.binding, shape, tuple(factors), coins)


def fixed(binding: Binding) -> Fitted:
    """A binding whose sizes are the real ones."""
    return Fitted(binding, binding.shape, binding.factors, binding.coins)


def product(sizes: Sequence[Size]) -> Size:
    """An int where all sizes are known."""
    return math.prod(sizes)


def as_shape(sizes: Sequence[Size]) -> tf.Tensor:
    """The sizes as a shape of int64."""
    if all(isinstance(size, int) for size in sizes):
        return tf.constant(sizes, tf.int64, shape=(len(sizes),))
    return tf.stack([tf.cast(size, tf.int64) for size in sizes])


def _known(shape: tf.TensorShape, pattern: Pattern) -> Shape:
    """The sizes that are known; where not even the rank is, it must be the pattern's."""
    if shape.rank is not None:
        return tuple(shape)
    if None in pattern.left:
        raise PatternError(
            "'...' stands for any number of axes, and the tensor's rank is unknown",
            pattern.text,
            pattern.text.index("..."),
            "a name for each axis, or x = tf.ensure_shape(x, [None, None]) before",
        )
    return (None,) * len(pattern.left)


def _split(part: tuple[Axis, ...], size: tf.Tensor, sizes: Sizes) -> list[Size]:
    """The factors of an axis whose size the graph knows: at most one of them is open.

    XLA leaves the checks out, as it does all assertions.
    """
    factors: list[Size] = list(known_sizes(part, sizes))
    if factors == [None]:
        return [size]
    known = math.prod(n for n in factors if n is not None)
    shown = " x ".join(map(str, part))
    if None not in factors:
        message = f"{shown} is {known}, the array's axis has another size"
        checked = tf.debugging.assert_equal(size, tf.constant(known, tf.int64), message)
        # One is worked out all the same, from a size that comes after the check.
        known, factors[0] = math.prod(factors[1:]), None
    else:
        message = f"({shown}): the array's axis does not split into parts of {known}"
        checked = tf.debugging.assert_equal(size % known, tf.constant(0, tf.int64), message)
    with tf.control_dependencies([checked]):
        size = tf.identity(size)
    return [size // known if n is None else n for n in factors]
