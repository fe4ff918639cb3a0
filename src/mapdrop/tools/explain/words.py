"""Sentences about a pattern, for the terminal and the picture alike."""

from __future__ import annotations

from mapdrop.spec.pattern import ELLIPSIS, Pattern
from mapdrop.spec.reference import survivors
from mapdrop.tools.explain.asked import Asked
from mapdrop.tools.explain.numbers import Numbers

BLIND = "A mask never looks at the values: weak or strong, below 0 or above 0."


def number_of(count: int, what: str) -> str:
    """A count and its noun: "1 coin", "1,728 coins"."""
    return f"{count:,} {what}{'s' * (count != 1)}"


def fall_together(pattern: Pattern) -> str:
    """Which values share a coin."""
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


def tied(asked: Asked, counts: Numbers) -> str:
    """What ties the coins to each other; empty where they fall independently."""
    size = dict(zip(counts.names, counts.coins, strict=True))
    if asked.block:
        sides = " x ".join(str(min(side, size[name])) for name, side in asked.block.items())
        return f"Coins fall in blocks of {sides} along {', '.join(asked.block)}."
    if asked.exact:
        n = size[asked.exact]
        return f"Of each {n} coins along {asked.exact} exactly {survivors(asked.p, n)} survive."
    if asked.balance:
        n = size[asked.balance]
        rounded = f"{(1 - asked.p) * n:g} survive, rounded up or down"
        return f"Of each {n} coins along {asked.balance} {rounded}."
    return ""
