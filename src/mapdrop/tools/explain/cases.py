"""The cases that are shown side by side: the user's pattern, and the usual ones at the same p."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mapdrop.spec.mask_spec import mask_spec
from mapdrop.spec.pattern import ELLIPSIS
from mapdrop.tools.drop_kinds import DROP_KINDS
from mapdrop.tools.explain.layout import Layout
from mapdrop.tools.explain.numbers import Numbers, numbers
from mapdrop.tools.explain.request import Request
from mapdrop.tools.explain.structure import structure

YOURS = "your pattern"
_SHOWN = ("element", "place", "spatial", "block")


@dataclass(frozen=True)
class Case:
    """One pattern at work: its name, its counts, and what it drops.

    `dropped` is a bool for each value of the feature maps, (b, h, w, c); `brief` is the mask's
    size along each axis in letters: "b", "1", "1", "c".
    """

    name: str
    request: Request
    numbers: Numbers
    brief: tuple[str, ...]
    dropped: NDArray[np.bool_]
    yours: bool = False


def cases(request: Request, layout: Layout, shape: tuple[int, ...]) -> list[Case]:
    """Return the user's pattern first, then those of the usual ones that have another law.

    Raises:
        PatternError, ValueError, TypeError: for what does not fit the shape.
    """
    law = structure(request.bind(shape))
    name = YOURS
    others = []
    for usual, other in _usual(request, layout):
        if structure(other.bind(shape)) == law:
            name = usual
        else:
            others.append(_case(usual, other, layout, shape))
    return [_case(name, request, layout, shape, yours=True), *others]


def _usual(request: Request, layout: Layout) -> Iterator[tuple[str, Request]]:
    """Yield the usual patterns, by title, in the user's layout.

    The order of the right side is always the same, so that two layouts get the same coins.
    """
    present = [role for role in "bhwtc" if role in layout.roles]
    space = [role for role in present if role in "hwt"]
    places, maps = ("time steps", "channels") if layout.sequence else ("pixels", "maps")
    for kind in map(DROP_KINDS.__getitem__, _SHOWN):
        own = [role for role in present if ("s" if role in space else role) in kind.coins]
        pattern = f"{' '.join(layout.roles)} -> {' '.join(own)}"
        block = dict.fromkeys(space, kind.block) if kind.block > 1 else {}
        title = kind.title.format(places=places, maps=maps)
        spec = mask_spec(pattern, request.p, block=tuple(block.items()))
        yield title, Request(spec, request.seed)


def _case(
    name: str, request: Request, layout: Layout, shape: tuple[int, ...], yours: bool = False
) -> Case:
    untouched = np.ones(shape, np.float32)
    dropped = request.mask(shape).apply(untouched) == 0
    return Case(
        name,
        request,
        numbers(request, shape),
        _brief(request, layout, shape),
        layout.restore(dropped),
        yours,
    )


def _brief(request: Request, layout: Layout, shape: tuple[int, ...]) -> tuple[str, ...]:
    binding = request.bind(shape).binding
    sides = []
    for role, axis in zip(layout.roles, binding.axes, strict=True):
        names = [None if coin is None else binding.names[coin] for _, coin in axis]
        # An axis that '...' stands for has no name that the user knows.
        known = ["1" if n is None else role if n.startswith(ELLIPSIS) else n for n in names]
        sides.append(f"({' '.join(known)})" if len(known) > 1 else known[0])
    return tuple(sides)
