"""What a pattern does to an array, in numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mapdrop.tools.explain.request import Request

# A coin takes a few bytes here and more while it is drawn.
MOST_COINS = 2**27


@dataclass(frozen=True)
class Numbers:
    """The counts of one mask.

    Attributes:
        shape: the array's.
        mask: the mask's shape as it broadcasts against the array: for each axis of the array its
            size, or 1; several numbers where the pattern splits the axis.
        names, coins: the coin axes and their sizes, in the order of the coins.
        count: the number of coins.
        per_coin: how many values of the array share one coin.
        expected: the fraction of values that is dropped on average over seeds.
        fallen: how many coins fell for this seed.
        scale: what kept values are multiplied by.
    """

    shape: tuple[int, ...]
    mask: tuple[tuple[int, ...], ...]
    names: tuple[str, ...]
    coins: tuple[int, ...]
    count: int
    per_coin: int
    expected: float
    fallen: int
    scale: float

    @property
    def actual(self) -> float:
        """The fraction of values that this seed dropped: every coin has the same number of them."""
        return self.fallen / self.count

    @property
    def mask_shape(self) -> str:
        """The mask's shape as text: "[2, 1, 1, 12]"; a split axis stands in parentheses."""
        sides = (f"({' '.join(map(str, s))})" if len(s) > 1 else str(s[0]) for s in self.mask)
        return f"[{', '.join(sides)}]"


def numbers(request: Request, shape: tuple[int, ...]) -> Numbers:
    """Count what `request` does to an array of this shape, which has at least one value.

    Raises:
        PatternError, ValueError, TypeError: for what does not fit.
    """
    bound = request.bind(shape)
    binding = bound.binding
    if not binding.values:
        raise ValueError(f"an array of shape {shape} has no values: sizes are from 1 on")
    if binding.count > MOST_COINS:
        raise ValueError(
            f"{binding.count:,} coins are too many to draw here: at most {MOST_COINS:,}"
        )
    mask = request.mask(shape)
    return Numbers(
        shape=shape,
        mask=tuple(
            tuple(1 if coin is None else size for size, coin in axis) for axis in binding.axes
        ),
        names=binding.names,
        coins=binding.coins,
        count=binding.count,
        per_coin=binding.values // binding.count,
        expected=bound.law.rate(binding.coins),
        fallen=binding.count - mask.kept,
        scale=float(np.max(mask.scale)),
    )
