"""What shares a coin: the pattern language, parsed once and bound to a shape.

``"b h w c -> b c"`` names the axes of an array on the left and, on the right, the axes that have
coins of their own. Values that differ only along the other axes share a coin.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache

ARROW = "->"
ELLIPSIS = "..."
_TOKEN = re.compile(r"\s*(->|\.\.\.|\(|\)|[^\W\d]\w*|\d+|\S)")


class PatternError(ValueError):
    """A pattern that cannot be read, or that does not fit the array's shape.

    The message shows the pattern with a caret under the offence, the shape that came (where one
    did), and what to write instead.

    >>> import mapdrop, numpy as np
    >>> mapdrop.drop(np.ones((2, 3)), "b c -> b k", 0.5)
    Traceback (most recent call last):
    mapdrop.pattern.PatternError: 'k' is not an axis on the left
      b c -> b k
               ^
      instead: name it on the left, or take it out; on the left are b, c
    """

    def __init__(
        self,
        reason: str,
        pattern: str = "",
        at: int = 0,
        instead: str = "",
        shape: tuple[int, ...] | None = None,
    ) -> None:
        self.reason, self.pattern, self.at = reason, pattern, at
        self.instead, self.shape = instead, shape
        shown = "".join(c if c.isprintable() else " " for c in pattern)
        lines = [reason, f"  {shown}", f"  {' ' * at}^"]
        if shape is not None:
            lines.append(f"  shape: {shape}")
        if instead:
            lines.append(f"  instead: {instead}")
        super().__init__("\n".join(lines))

    def __reduce__(self) -> tuple[type[PatternError], tuple[object, ...]]:
        return type(self), (self.reason, self.pattern, self.at, self.instead, self.shape)


@dataclass(frozen=True)
class Axis:
    """One named axis, or a literal size without a name. `at` is its place in the text."""

    name: str | None
    size: int | None = None
    at: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return self.name if self.name is not None else str(self.size)


@dataclass(frozen=True, repr=False)
class Pattern:
    """A parsed pattern: immutable, hashable, equal to another that says the same.

    `left` has a tuple of axes for each axis of the array (several where a group splits it) and
    None for the ellipsis; `right` has the names whose order is the order of the coins.

    >>> Pattern.parse("b  h w c->b 1 1 c")
    Pattern('b h w c -> b c')
    """

    left: tuple[tuple[Axis, ...] | None, ...]
    right: tuple[str, ...]
    text: str = field(compare=False)

    @staticmethod
    def parse(text: str) -> Pattern:
        """Read a pattern; the same text gives the same object. Raises PatternError."""
        if isinstance(text, Pattern):
            return text
        if not isinstance(text, str):
            raise TypeError(
                f"a pattern is a string such as 'b h w c -> b c', not {type(text).__name__}"
            )
        return _parse(text)

    @property
    def names(self) -> tuple[str, ...]:
        """Every name on the left, in order; the ellipsis is '...'."""
        return tuple(
            name
            for part in self.left
            for name in ([ELLIPSIS] if part is None else [a.name for a in part])
            if name is not None
        )

    def bind(
        self, shape: Iterable[int], sizes: Mapping[str, int] | None = None, *, ragged: bool = False
    ) -> Binding:
        """Fit the pattern to a shape; `sizes` gives the sizes of names inside groups.

        With `ragged`, the first name of a group is rounded up where the axis does not divide, so
        that the last group of a batch may be smaller. Raises PatternError.
        """
        return _bind(self, tuple(shape), tuple((sizes or {}).items()), ragged)

    def error(
        self, reason: str, name: str, instead: str = "", shape: tuple[int, ...] | None = None
    ) -> PatternError:
        """An error about the axis `name` (or about the whole pattern where it has none such)."""
        at = next((a.at for part in self.left if part for a in part if a.name == name), 0)
        return PatternError(reason, self.text, at, instead, shape)

    def __str__(self) -> str:
        left = [
            ELLIPSIS
            if part is None
            else str(part[0])
            if len(part) == 1
            else f"({' '.join(map(str, part))})"
            for part in self.left
        ]
        return " ".join([*left, ARROW, *self.right])

    def __repr__(self) -> str:
        return f"Pattern({str(self)!r})"


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
        """How many values the array has."""
        return math.prod(self.shape)

    @property
    def count(self) -> int:
        """How many coins there are."""
        return math.prod(self.coins)

    @property
    def factors(self) -> tuple[int, ...]:
        """The array's shape with every axis split into its factors."""
        return tuple(size for part in self.axes for size, _ in part)

    @cached_property
    def lineup(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """How coins meet values: transpose the coins so, then reshape them so; they broadcast."""
        flat = [factor for part in self.axes for factor in part]
        order = tuple(axis for _, axis in flat if axis is not None)
        return order, tuple(1 if axis is None else size for size, axis in flat)

    @property
    def repeats(self) -> tuple[int, int, int] | None:
        """Where the last group is smaller: (coin axis, members of a group, size of the axis)."""
        if self.ragged is None:
            return None
        (_, axis), *members = self.axes[self.ragged]
        return axis or 0, math.prod(n for n, _ in members), self.shape[self.ragged]

    @cached_property
    def whole(self) -> Binding:
        """The same with the coins of a smaller last group repeated, one for each of its members."""
        if self.ragged is None:
            return self
        _, axis = self.axes[self.ragged][0]
        size = self.shape[self.ragged]
        axes = list(self.axes)
        axes[self.ragged] = ((size, axis),)
        coins = tuple(size if a == axis else n for a, n in enumerate(self.coins))
        return replace(self, axes=tuple(axes), coins=coins, ragged=None)

    def axis(self, name: str, argument: str) -> int:
        """Index of the coin axis `name`, which the user gave as `argument`. Raises PatternError."""
        if name not in self.names:
            raise self.pattern.error(
                f"{argument}={name!r} does not name an axis with coins of its own",
                name,
                f"one of {', '.join(map(repr, self.names)) or 'none: the right side is empty'}",
                self.shape,
            )
        return self.names.index(name)


@lru_cache(maxsize=1024)
def _parse(text: str) -> Pattern:
    tokens = [(m.group(1), m.start(1)) for m in _TOKEN.finditer(text)]
    arrows = [i for i, (token, _) in enumerate(tokens) if token == ARROW]
    if len(arrows) != 1:
        at = tokens[arrows[1]][1] if arrows else len(text)
        raise PatternError(
            f"a pattern has one '->', this one has {len(arrows)}",
            text,
            at,
            "axes of the array -> axes with coins of their own, as in 'b h w c -> b c'",
        )
    left = _parse_left(text, tokens[: arrows[0]])
    known = {a.name for part in left if part for a in part} | {ELLIPSIS for p in left if p is None}
    return Pattern(left, _parse_right(text, tokens[arrows[0] + 1 :], known), text)


def _parse_left(text: str, tokens: list[tuple[str, int]]) -> tuple[tuple[Axis, ...] | None, ...]:
    parts: list[tuple[Axis, ...] | None] = []
    group: list[Axis] | None = None
    opened, seen = 0, set()
    for token, at in tokens:
        if token in seen:
            raise PatternError(f"{token!r} stands twice on the left", text, at, "another name")
        if token == "(":
            if group is not None:
                raise PatternError("a group inside a group", text, at, "one level: (a b c)")
            group, opened = [], at
        elif token == ")":
            if not group:
                reason = "an empty group" if group is not None else "')' without '('"
                raise PatternError(reason, text, at, "a group is written (g k)")
            parts.append(tuple(group))
            group = None
        elif token == ELLIPSIS:
            if group is not None:
                raise PatternError("'...' inside a group", text, at, "'...' outside of ( )")
            seen.add(token)
            parts.append(None)
        else:
            axis = _axis(text, token, at)
            if axis.name:
                seen.add(token)
            if group is None:
                parts.append((axis,))
            else:
                group.append(axis)
    if group is not None:
        raise PatternError("'(' is never closed", text, opened, "a group is written (g k)")
    return tuple(parts)


def _axis(text: str, token: str, at: int) -> Axis:
    if token.isascii() and token.isdigit() and len(token) < 20:
        return Axis(None, int(token), at)
    if token.isidentifier():
        return Axis(token, None, at)
    raise PatternError(
        f"{token!r} means nothing here", text, at, "names, '...', '(g k)', sizes and '->'"
    )


def _parse_right(
    text: str, tokens: list[tuple[str, int]], known: set[str | None]
) -> tuple[str, ...]:
    right: list[str] = []
    for token, at in tokens:
        if token == "1":  # A placeholder, for those who think of the mask's full shape.
            continue
        if token in "()":
            raise PatternError(
                "the right side has no groups", text, at, "the names alone: their order counts"
            )
        if token in right:
            raise PatternError(f"{token!r} stands twice on the right", text, at, "it once")
        if token not in known:
            names = ", ".join(sorted(name for name in known if name)) or "none"
            what = "a size" if token.isdigit() else "not an axis on the left"
            raise PatternError(
                f"{token!r} is {what}" + (", and the right side has names" * token.isdigit()),
                text,
                at,
                f"name it on the left, or take it out; on the left are {names}",
            )
        right.append(token)
    return tuple(right)


@lru_cache(maxsize=4096)
def _bind(
    pattern: Pattern, shape: tuple[int, ...], sizes: tuple[tuple[str, int], ...], ragged: bool
) -> Binding:
    given = dict(sizes)
    _check_sizes(pattern, given, shape)
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
    return Binding(
        pattern,
        shape,
        tuple(
            tuple((a.size or 0, None if a.name is None else place.get(a.name)) for a in part)
            for part in axes
        ),
        names,
        tuple(size_of[name] or 0 for name in names),
        loose,
    )


def _check_sizes(pattern: Pattern, given: dict[str, int], shape: tuple[int, ...]) -> None:
    for name, size in given.items():
        if name not in pattern.names or name == ELLIPSIS:
            raise PatternError(
                f"{name}={size!r} gives a size for an axis that the pattern does not name",
                pattern.text,
                0,
                f"a keyword among {', '.join(pattern.names)}, or name {name!r} on the left",
                shape,
            )
        if isinstance(size, bool) or not hasattr(size, "__index__") or size < 1:
            raise pattern.error(
                f"{name}={size!r} is not a size", name, "a whole number of at least 1", shape
            )


def _spread(pattern: Pattern, shape: tuple[int, ...]) -> list[tuple[Axis, ...]]:
    """One part for each axis of the shape: the ellipsis becomes axes of its own (at = -1)."""
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
        for i, p in enumerate(pattern.left)
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
    """The part's axes with their sizes; at most one of a group may be left to be worked out."""
    known = [given.get(a.name, a.size) if a.name else a.size for a in part]
    missing = [i for i, n in enumerate(known) if n is None]
    at = max(part[0].at, 0)
    if len(missing) > 1:
        second = part[missing[1]]
        raise PatternError(
            f"the sizes of {', '.join(repr(str(part[i])) for i in missing)} are open",
            pattern.text,
            second.at,
            f"give all but one: {second}=2 as a keyword, or a number in its place",
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
