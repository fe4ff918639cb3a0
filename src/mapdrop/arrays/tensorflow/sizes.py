"""A pattern fitted to a tensor whose sizes may be known only when the graph runs.

The pattern is bound to a shape in which each unknown size is the least that fits, which checks
everything that can be checked; then the real sizes, tensors, take the place of those.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from mapdrop.binding import Binding
from mapdrop.pattern import Axis, Pattern, PatternError
from mapdrop.plan import Items, Plan, plan

Size = Any  # int where it is known, else an int64 tensor of shape ().


@dataclass(frozen=True)
class Fitted:
    """A binding with the real sizes.

    `factors` are the sizes of the axes split into their factors, `coins` those of the coin axes.
    """

    binding: Binding
    shape: tuple[Size, ...]
    factors: tuple[Size, ...]
    coins: tuple[Size, ...]


def fit(
    x: tf.Tensor, pattern: str | Pattern, p: float, *options: Any, sizes: Items
) -> tuple[Plan, Fitted]:
    """Check and bind it all. Raises PatternError, and InvalidArgumentError when the graph runs."""
    if x.shape.is_fully_defined():
        known = plan(pattern, tuple(x.shape), p, *options, sizes)
        return known, fixed(known.binding)
    parsed, shape = Pattern.parse(pattern), _ranked(x.shape, Pattern.parse(pattern))
    given = {name: size for name, size in sizes if type(size) is int}
    parts = list(_parts(parsed, len(shape)))
    least = [
        math.prod(_known(part, given)) if size is None else size
        for size, part in zip(shape, parts, strict=False)
    ]
    try:
        asked = plan(parsed, tuple(least + list(shape[len(least) :])), p, *options, sizes)
    except PatternError as error:  # It shows the least sizes, which nobody gave.
        raise PatternError(
            error.reason, error.pattern, error.at, error.instead, tuple(shape)
        ) from None
    running = tf.shape(x, out_type=tf.int64)
    real: list[Size] = [running[a] if n is None else n for a, n in enumerate(shape)]
    factors: list[Size] = []
    for part, size, bound in zip(parts, real, asked.binding.axes, strict=True):
        least_sizes = [n for n, _ in bound]
        factors += least_sizes if isinstance(size, int) else _split(parsed, part, size, given)
    flat = [axis for bound in asked.binding.axes for _, axis in bound]
    size_of = {axis: n for axis, n in zip(flat, factors, strict=True) if axis is not None}
    coins = tuple(size_of[axis] for axis in range(len(asked.binding.coins)))
    return asked, Fitted(asked.binding, tuple(real), tuple(factors), coins)


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


def _ranked(shape: tf.TensorShape, pattern: Pattern) -> list[int | None]:
    """The sizes that are known; of an unknown rank the pattern's."""
    if shape.rank is not None:
        return list(shape)
    if None in pattern.left:
        raise PatternError(
            "'...' stands for any number of axes, and the tensor's rank is unknown",
            pattern.text,
            0,
            "a name for each axis, or x = tf.ensure_shape(x, [None, None, ...])",
        )
    return [None] * len(pattern.left)


def _parts(pattern: Pattern, rank: int) -> Iterator[tuple[Axis, ...]]:
    """The axes into which the pattern splits each of the array's (the ellipsis gives one each)."""
    spare = rank - sum(part is not None for part in pattern.left)
    for part in pattern.left:
        if part is None:
            yield from ((Axis(None, None),) for _ in range(spare))
        else:
            yield part


def _known(part: tuple[Axis, ...], given: dict[str, int]) -> list[int]:
    sizes = (given.get(axis.name or "", axis.size) for axis in part)
    return [size for size in sizes if size is not None]


def _split(
    pattern: Pattern, part: tuple[Axis, ...], size: tf.Tensor, given: dict[str, int]
) -> list[Size]:
    """The factors of an axis whose size the graph knows: at most one of them is open."""
    sizes: list[Size] = [given.get(axis.name or "", axis.size) for axis in part]
    known = math.prod(n for n in sizes if n is not None)
    if None not in sizes:
        tf.debugging.assert_equal(
            size, tf.constant(known, tf.int64),
            f"{pattern.text!r}: {' x '.join(map(str, part))} is {known}, the array's axis is not",
        )  # fmt: skip
        return sizes
    if known > 1:
        tf.debugging.assert_equal(
            size % known, tf.constant(0, tf.int64),
            f"{pattern.text!r}: the array's axis does not split into parts of {known}",
        )  # fmt: skip
    return [size // known if n is None else n for n in sizes]
