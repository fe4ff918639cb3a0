"""Sentences about a pattern, for the terminal and the picture."""

from __future__ import annotations

from mapdrop.spec.pattern import ELLIPSIS, Pattern
from mapdrop.tools.explain.numbers import Numbers
from mapdrop.tools.explain.request import Request

BLIND = "A mask never looks at the values: weak or strong, below 0 or above 0."


def number_of(count: int, what: str) -> str:
    """Return a count and its noun: "1 coin", "1,728 coins"."""
    return f"{count:,} {what}{'s' * (count != 1)}"


def fall_together(pattern: Pattern) -> str:
    """Say which values share a coin."""
    names = []
    for part in pattern.left:
        if part is None:
            names += [ELLIPSIS] if ELLIPSIS not in pattern.right else []
            continue
        group = f" of ({' '.join(map(str, part))})" if len(part) > 1 else ""
        names += [
            axis.name or f"the {axis.size}{group}"
            for axis in part
            if axis.name not in pattern.right
        ]
    if not names:
        return "Every value has a coin of its own."
    if not pattern.right:
        return "One coin decides for the whole array."
    return f"Values that differ only along {', '.join(names)} share a coin and fall together."


def tied(request: Request, counts: Numbers) -> str:
    """Say what ties the coins to each other; empty where they are independent."""
    return request.bind(counts.shape).law.sentence(counts.names, counts.coins)
