"""A pattern fitted to a shape: which coin each value has."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property, lru_cache
from typing import Any

from mapdrop.spec.law import Law
from mapdrop.spec.pattern import ELLIPSIS, Axis, Pattern, PatternError

# The arguments of `drop` and `mask`: a size cannot be passed under one of these names.
ARGUMENTS = {
    *("x", "shape", "pattern", "seed", "stream", "step", "scale", "inplace", "out"),
    *(field.name for field in fields(Law)),
}


@dataclass(frozen=True, eq=False)
class Binding:
    """A pattern fitted to a shape; binding the same again gives the same object.

    For each axis of the array, `axes` has its factors as (size, index of the coin axis or None).
    `names` and `coins` are the coin axes' names and sizes, in the order of the coins. `ragged` is
    the index of the axis whose factors' product exceeds its size, if there is one.
    """

    pattern: Pattern
    shape: tuple[int, ...]
    axes: tuple[tuple[tuple[int, int | None], ...], ...]
    names: tuple[str, ...]
    coins: tuple[int, ...]
    ragged: int | None = None

    @property
    def values(self) -> int:
        """The number of values in the array."""
        return math.prod(self.shape)

    @property
    def count(self) -> int:
        """The number of coins."""
        return math.prod(self.coins)

    @property
    def factors(self) -> tuple[int, ...]:
        """The array's shape, each axis split into its factors."""
        return tuple(size for part in self.axes for size, _ in part)

    @cached_property
    def lineup(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """How to transpose the coins, then reshape them, so that they broadcast over `factors`."""
        flat = [factor for part in self.axes for factor in part]
        order = tuple(axis for _, axis in flat if axis is not None)
        return order, tuple(1 if axis is None else size for size, axis in flat)

    @property
    def repeats(self) -> tuple[int, int, int] | None:
        """(coin axis, members of a group, size of the axis) if the last group is smaller."""
        if self.ragged is None:
            return None
        (_, axis), *members = self.axes[self.ragged]
        return axis or 0, math.prod(n for n, _ in members), self.shape[self.ragged]

    @cached_property
    def ungrouped(self) -> Binding:
        """The same binding with a coin for each member of a group, if the last is smaller."""
        if self.ragged is None:
            return self
        _, axis = self.axes[self.ragged][0]
        size = self.shape[self.ragged]
        axes = list(self.axes)
        axes[self.ragged] = ((size, axis),)
        coins = tuple(size if a == axis else n for a, n in enumerate(self.coins))
        return replace(self, axes=tuple(axes), coins=coins, ragged=None)

    def axis(self, name: str, argument: str) -> int:
        """Return the index of the coin axis `name`, given as `argument`. Raises PatternError."""
        return self.pattern.coin_axis(argument, name, self.names, self.shape)


def bind(
    pattern: str | Pattern,
    shape: Iterable[int],
    sizes: Mapping[str, int] | None = None,
    *,
    ragged: bool = False,
) -> Binding:
    """Fit a pattern to a shape; `sizes` gives the sizes of names inside groups.

    With `ragged`, the first name of a group is rounded up where the axis does not divide, so
    that the last group of a batch may be smaller. Raises PatternError.
    """
    parsed, fixed = Pattern.parse(pattern), tuple(map(operator.index, shape))
    # Checked before the lookup: 2.0 and True would find what was bound to 2 and 1.
    given = tuple((n, _size(parsed, n, size, fixed)) for n, size in (sizes or {}).items())
    bound = _bind(parsed, fixed, given, ragged)
    # Two spellings of one pattern share what was bound; an error shows the one that was written.
    return bound if bound.pattern.text == parsed.text else replace(bound, pattern=parsed)


def _size(pattern: Pattern, name: str, size: Any, shape: tuple[int, ...]) -> int:
    try:
        number = 0 if isinstance(size, bool) else operator.index(size)
    except TypeError:
        number = 0
    if number < 1:
        raise pattern.error(
            f"{name}={size!r} is not a size", name, "a whole number of at least 1", shape
        )
    return number


@lru_cache(maxsize=4096)
def _bind(
    pattern: Pattern, shape: tuple[int, ...], sizes: tuple[tuple[str, int], ...], ragged: bool
) -> Binding:
    given = dict(sizes)
    _check_names(pattern, given, shape)
    parts = _spread(pattern, shape)
    axes: list[tuple[Axis, ...]] = []
    loose = None
    for number, (part, size) in enumerate(zip(parts, shape, strict=True)):
        factors = _factor(pattern, part, size, given, shape, ragged)
        if math.prod(a.size or 0 for a in factors) != size:
            loose = number
        axes.append(factors)
    spread = tuple(p[0].name for p in parts if p[0].at < 0)
    names = tuple(
        str(n) for name in pattern.right for n in (spread if name == ELLIPSIS else (name,))
    )
    size_of = {a.name: a.size for part in axes for a in part if a.name is not None}
    place = {name: i for i, name in enumerate(names)}
    lined_up = tuple(
        tuple((a.size or 0, None if a.name is None else place.get(a.name)) for a in part)
        for part in axes
    )
    if loose is not None:
        (_, group), *members = lined_up[loose]
        if group is None or any(axis is not None for _, axis in members):
            raise PatternError(
                "in a smaller last group the group has coins of its own, and its members have none",
                pattern.text,
                axes[loose][0].at,
                "the first name of the group on the right, and no other of it",
                shape,
            )
    return Binding(
        pattern,
        shape,
        lined_up,
        names,
        tuple(size_of[name] or 0 for name in names),
        loose,
    )


def _check_names(pattern: Pattern, given: dict[str, int], shape: tuple[int, ...]) -> None:
    if min(shape, default=0) < 0:
        raise PatternError("an array has no axis of negative size", pattern.text, 0, "", shape)
    check_names(pattern, given, shape)


def check_names(
    pattern: Pattern,
    given: Mapping[str, int],
    shape: tuple[int, ...] | None = None,
    instead: str = "",
) -> None:
    """Check that sizes are given for axes that the pattern names. Raises PatternError.

    Args:
        pattern: of the array.
        given: the sizes.
        shape: of the array, for the message, if there is one yet.
        instead: what to write instead, if that is known.
    """
    for name, size in given.items():
        if name not in pattern.names or name == ELLIPSIS:
            raise PatternError(
                f"{name}={size!r} gives a size for an axis that the pattern does not name",
                pattern.text,
                0,
                instead
                or f"a keyword among {', '.join(pattern.names)}, or name {name!r} on the left",
                shape,
            )


def _spread(pattern: Pattern, shape: tuple[int, ...]) -> list[tuple[Axis, ...]]:
    """Return one part for each axis of the shape; the ellipsis becomes axes with at = -1."""
    named = sum(part is not None for part in pattern.left)
    rest = len(shape) - named
    open_ended = named < len(pattern.left)
    if rest < 0 or (rest > 0 and not open_ended):
        many = f"at least {named}" if open_ended else f"{named}"
        raise PatternError(
            f"the pattern names {many} axes, the array has {len(shape)}",
            pattern.text,
            0,
            "a name for each axis, or '...' for any number of them",
            shape,
        )
    return [
        part
        for p in pattern.left
        for part in ([(Axis(f"{ELLIPSIS}{j}", at=-1),) for j in range(rest)] if p is None else [p])
    ]


def _factor(
    pattern: Pattern,
    part: tuple[Axis, ...],
    size: int,
    given: dict[str, int],
    shape: tuple[int, ...],
    ragged: bool,
) -> tuple[Axis, ...]:
    """Return the part's axes with their sizes, of which at most one may be unknown."""
    known = [given.get(a.name, a.size) if a.name else a.size for a in part]
    missing = [i for i, n in enumerate(known) if n is None]
    at = max(part[0].at, 0)
    if len(missing) > 1:
        second = part[missing[1]]
        remedy = f"pass one of the sizes ({second}=2), or write a number in the pattern"
        if second.name in ARGUMENTS:
            remedy = (
                f"write a number in the pattern, or rename {str(second)!r}, which is an argument "
                "of drop()"
            )
        raise PatternError(
            f"the sizes of {', '.join(repr(str(part[i])) for i in missing)} are open",
            pattern.text,
            second.at,
            remedy,
            shape,
        )
    product = math.prod(n for n in known if n is not None)
    if missing:
        if product == 0 or (size % product and not (ragged and missing == [0])):
            raise PatternError(
                f"an axis of {size} does not split into parts of {product}",
                pattern.text,
                at,
                f"a size that divides {size}",
                shape,
            )
        known[missing[0]] = -(-size // product)
    elif product != size:
        raise PatternError(
            f"{' x '.join(map(str, part))} is {product}, the array's axis has {size}",
            pattern.text,
            at,
            f"sizes whose product is {size}",
            shape,
        )
    return tuple(Axis(a.name, n, a.at) for a, n in zip(part, known, strict=True))
