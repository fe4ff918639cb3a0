"""What shares a coin: the pattern language, parsed once.

``"b h w c -> b c"`` names the axes of an array on the left and, on the right, the axes that have
coins of their own. Values that differ only along the other axes share a coin.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

ARROW = "->"
ELLIPSIS = "..."
_TOKEN = re.compile(r"\s*(->|\.\.\.|\w+|\S)")


class PatternError(ValueError):
    """Report a pattern that cannot be read, or that does not fit the array's shape.

    The message shows the pattern with a caret under the offence, the shape that came (where one
    did), and what to write instead.

    Attributes:
        reason: what is wrong, in a sentence.
        pattern: the text of the pattern; "" where there is none.
        at: where in the text the offence begins, counted from 0.
        instead: what to write instead; "" where nothing is said.
        shape: the shape that came, None for a size that is not known yet; None where none came.

    Examples:
        >>> import mapdrop, numpy as np
        >>> mapdrop.drop(np.ones((2, 3)), "b c -> b k", 0.5)
        Traceback (most recent call last):
        mapdrop.PatternError: 'k' is not an axis on the left
          b c -> b k
                   ^
          instead: name it on the left, or take it out; on the left are b, c
    """

    reason: str
    pattern: str
    at: int
    instead: str
    shape: tuple[int | None, ...] | None

    def __init__(
        self,
        reason: str,
        pattern: str = "",
        at: int = 0,
        instead: str = "",
        shape: tuple[int | None, ...] | None = None,
    ) -> None:
        self.reason, self.pattern, self.at = reason, pattern, at
        self.instead, self.shape = instead, shape
        shown = "".join(c if c.isprintable() else " " for c in pattern)
        lines = [reason, f"  {shown}", f"  {' ' * at}^"]
        if not (pattern or instead or shape):
            lines = [reason]  # Frameworks make errors anew, from the whole message alone.
        if shape is not None:
            lines.append(f"  shape: {shape}")
        if instead:
            lines.append(f"  instead: {instead}")
        super().__init__("\n".join(lines))

    def __reduce__(self) -> tuple[type[PatternError], tuple[object, ...]]:
        return type(self), (self.reason, self.pattern, self.at, self.instead, self.shape)


@dataclass(frozen=True)
class Axis:
    """An axis with a name, or a literal size without one. `at` is its position in the text."""

    name: str | None
    size: int | None = None
    at: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return self.name if self.name is not None else str(self.size)


@dataclass(frozen=True, repr=False)
class Pattern:
    """Name the axes of an array and, behind an arrow, those that have coins of their own.

    A pattern is parsed once. It is immutable, hashable, and equal to any other that means the same.
    Every function and layer takes its text as well. ``"b h w c -> b c"`` has a coin for each map of
    each sample; ``...`` stands for any number of axes, ``(g k)`` splits one axis into groups, and
    ``1`` on the right side is no axis.

    Attributes:
        left: a tuple of axes for each axis of the array (several where a group splits it), None for
            the ellipsis.
        right: the names whose order is the order of the coins.
        text: the pattern as it was written.

    Examples:
        >>> Pattern.parse("b  h w c->b 1 1 c")
        Pattern('b h w c -> b c')
    """

    left: tuple[tuple[Axis, ...] | None, ...]
    right: tuple[str, ...]
    text: str = field(compare=False)

    @staticmethod
    def parse(text: str | Pattern) -> Pattern:
        """Read a pattern; the same text gives the same object.

        Args:
            text: the pattern; one that is parsed already is returned.

        Returns:
            The parsed pattern.

        Raises:
            PatternError: where the text cannot be read.
            TypeError: for what is no text.
        """
        if isinstance(text, Pattern):
            return text
        if not isinstance(text, str):
            raise TypeError(
                f"a pattern is a string such as 'b h w c -> b c', not {type(text).__name__}"
            )
        return _parse(text)

    @property
    def names(self) -> tuple[str, ...]:
        """All names on the left, in order; the ellipsis is '...'."""
        return tuple(
            name
            for part in self.left
            for name in ([ELLIPSIS] if part is None else [a.name for a in part])
            if name is not None
        )

    def over_examples(self) -> Pattern:
        """Return the pattern for a stack of such arrays, along a first axis without coins."""
        name = "examples"
        while name in self.names:
            name += "_"
        return Pattern.parse(f"{name} {self.text}")

    def rows(self) -> Pattern:
        """Return the pattern of the array's first axis alone, for which the coins are the same.

        Raises:
            PatternError: where another axis has coins of its own.
        """
        first = self.left[0] if self.left else None
        own = {axis.name for axis in first or ()}
        for name in self.right:
            if name not in own:
                raise self.error(
                    f"the axis {name!r} has coins of its own, so no sample is dropped whole",
                    name,
                    "'b ... -> b', '(m s) ... -> m', '... ->': coins of the first axis or of none",
                )
        text = "rows" if first is None else f"({' '.join(map(str, first))})"
        return Pattern.parse(" ".join([text, ARROW, *self.right]))

    def error(
        self, reason: str, name: str, instead: str = "", shape: tuple[int, ...] | None = None
    ) -> PatternError:
        """Return an error that points at the axis `name`, or at the start if there is none."""
        at = next((a.at for part in self.left if part for a in part if a.name == name), 0)
        return PatternError(reason, self.text, at, instead, shape)

    def coin_axis(
        self,
        argument: str,
        name: str,
        names: tuple[str, ...] | None = None,
        shape: tuple[int, ...] | None = None,
    ) -> int:
        """Return the index of `name`, given as `argument`, among the coin axes `names`.

        Raises PatternError.
        """
        among = self.right if names is None else names
        if name not in among:
            raise self.error(
                f"{argument}={name!r} does not name an axis with coins of its own",
                name,
                f"one of {', '.join(map(repr, among)) or 'none: the right side is empty'}",
                shape,
            )
        return among.index(name)

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
            raise PatternError(f"{token!r} stands twice on the left", text, at, "use another name")
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
            raise PatternError(f"{token!r} stands twice on the right", text, at, "list it once")
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
