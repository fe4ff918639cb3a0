"""A spec against a shape of which not every size is known yet.

Each unknown size is taken as the least that fits, which checks all that can be checked.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from mapdrop.spec.mask_spec import BoundSpec, MaskSpec, Sizes
from mapdrop.spec.pattern import Axis, Pattern, PatternError

Shape = tuple[int | None, ...]


def bind_symbolic(spec: MaskSpec, shape: Shape) -> BoundSpec:
    """Return the spec bound to the least shape that fits; None is a size that is not known.

    Raises PatternError, which shows the shape that came.
    """
    axes = list(axes_of(spec.pattern, len(shape)))
    axes += [()] * (len(shape) - len(axes))
    least = tuple(
        math.prod(n for n in known_sizes(part, spec.sizes) if n is not None)
        if size is None
        else size
        for part, size in zip(axes, shape, strict=False)
    )
    try:
        return spec.bind(least, warn=False)
    except PatternError as error:
        raise PatternError(error.reason, error.pattern, error.at, error.instead, shape) from None


def axes_of(pattern: Pattern, rank: int) -> Iterator[tuple[Axis, ...]]:
    """Yield the axes into which the pattern splits each of the array's (one each for '...')."""
    spare = rank - sum(part is not None for part in pattern.left)
    for part in pattern.left:
        if part is None:
            yield from ((Axis(None),) for _ in range(spare))
        else:
            yield part


def known_sizes(axes: tuple[Axis, ...], sizes: Sizes) -> list[int | None]:
    """Return the size of each of the axes: as given, or as it stands in the pattern."""
    given = {name: size for name, size in sizes if type(size) is int}
    return [given.get(axis.name or "", axis.size) for axis in axes]
