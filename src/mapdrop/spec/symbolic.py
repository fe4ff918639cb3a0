"""A pattern against a shape of which not every size is known yet.

Each unknown size is taken as the least that fits, which checks all that can be checked.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from mapdrop.spec.mask_spec import BoundSpec, Items, Options, plan
from mapdrop.spec.pattern import Axis, Pattern, PatternError

Shape = tuple[int | None, ...]


def plan_partly(
    pattern: str | Pattern, shape: Shape, p: float, options: Options, sizes: Items
) -> BoundSpec:
    """The plan for the least shape. Raises PatternError, which shows the shape that came."""
    parsed = Pattern.parse(pattern)
    parts = list(parts_of(parsed, len(shape)))
    parts += [()] * (len(shape) - len(parts))
    least = tuple(
        math.prod(n for n in known_sizes(part, sizes) if n is not None) if size is None else size
        for part, size in zip(parts, shape, strict=False)
    )
    try:
        return plan(parsed, least, p, *options, sizes, partly=True)
    except PatternError as error:
        raise PatternError(error.reason, error.pattern, error.at, error.instead, shape) from None


def parts_of(pattern: Pattern, rank: int) -> Iterator[tuple[Axis, ...]]:
    """The axes into which the pattern splits each of the array's (the ellipsis gives one each)."""
    spare = rank - sum(part is not None for part in pattern.left)
    for part in pattern.left:
        if part is None:
            yield from ((Axis(None),) for _ in range(spare))
        else:
            yield part


def known_sizes(part: tuple[Axis, ...], sizes: Items) -> list[int | None]:
    """The size of each axis that a part has: as given, or as it stands in the pattern."""
    given = {name: size for name, size in sizes if type(size) is int}
    return [given.get(axis.name or "", axis.size) for axis in part]
