"""What is shown side by side: the user's pattern, and the usual ones at the same p."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mapdrop.spec.pattern import ELLIPSIS
from mapdrop.tools.explain.asked import Asked
from mapdrop.tools.explain.layout import Layout
from mapdrop.tools.explain.numbers import Numbers, numbers
from mapdrop.tools.explain.structure import structure

BLOCK = 7
YOURS = "your pattern"


@dataclass(frozen=True)
class Case:
    """One pattern at work: what it is called, its counts, and what it drops.

    `dropped` is a bool for each value of the feature maps, (b, h, w, c); `brief` is the mask's
    size along each axis in letters: "b", "1", "1", "c".
    """

    name: str
    asked: Asked
    numbers: Numbers
    brief: tuple[str, ...]
    dropped: NDArray[np.bool_]
    yours: bool = False


def cases(asked: Asked, layout: Layout, shape: tuple[int, ...]) -> list[Case]:
    """The user's pattern first, then those of the usual ones that have another law.

    Raises PatternError, ValueError or TypeError for what does not fit the shape.
    """
    law = structure(asked.plan(shape))
    name = YOURS
    others = []
    for usual, other in _usual(asked, layout):
        if structure(other.plan(shape)) == law:
            name = usual
        else:
            others.append(_case(usual, other, layout, shape))
    return [_case(name, asked, layout, shape, yours=True), *others]


def _usual(asked: Asked, layout: Layout) -> Iterator[tuple[str, Asked]]:
    """The usual patterns in the user's layout. The order of the right side is always the same, so
    that two layouts get the same coins."""
    every = [role for role in "bhwtc" if role in layout.roles]
    space = [role for role in every if role in "hwt"]
    pixels, maps = ("time steps", "channels") if layout.sequence else ("pixels", "maps")
    for name, own, block in (
        ("single values", every, {}),
        (f"whole {pixels}", [role for role in every if role != "c"], {}),
        (f"whole {maps}", [role for role in every if role not in space], {}),
        ("blocks", every, dict.fromkeys(space, BLOCK)),
    ):
        pattern = f"{' '.join(layout.roles)} -> {' '.join(own)}"
        yield name, Asked(pattern, asked.p, asked.seed, block=block)


def _case(
    name: str, asked: Asked, layout: Layout, shape: tuple[int, ...], yours: bool = False
) -> Case:
    untouched = np.ones(shape, np.float32)
    dropped = asked.mask(shape).apply(untouched) == 0
    return Case(
        name,
        asked,
        numbers(asked, shape),
        _brief(asked, layout, shape),
        layout.restore(dropped),
        yours,
    )


def _brief(asked: Asked, layout: Layout, shape: tuple[int, ...]) -> tuple[str, ...]:
    binding = asked.plan(shape).binding
    sides = []
    for role, axis in zip(layout.roles, binding.axes, strict=True):
        names = [None if coin is None else binding.names[coin] for _, coin in axis]
        # An axis that '...' stands for has no name that the user knows.
        known = ["1" if n is None else role if n.startswith(ELLIPSIS) else n for n in names]
        sides.append(f"({' '.join(known)})" if len(known) > 1 else known[0])
    return tuple(sides)
