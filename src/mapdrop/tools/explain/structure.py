"""Which axes of the array share coins: a bound specification seen from the array's side."""

from __future__ import annotations

from dataclasses import dataclass

from mapdrop.spec.mask_spec import TIES, BoundSpec


@dataclass(frozen=True)
class Structure:
    """What a specification does along each axis of the array. Two equal ones have the same law.

    Attributes:
        own: for each axis True (its places have coins of their own), False (they share one) or
            None (some of a split axis share, so that no mask of one size along it will do).
        block: for each axis the size of the blocks that fall together, 1 where there are none.
        tied: the argument by which coins depend on each other, "exact" or "balance", or None.
    """

    own: tuple[bool | None, ...]
    block: tuple[int, ...]
    tied: str | None = None

    @property
    def plain(self) -> bool:
        """Whether it is independent coins of a mask that broadcasts: one size for each axis."""
        return None not in self.own and not self.tied and set(self.block) <= {1}

    @property
    def independent(self) -> tuple[int, ...]:
        """The axes whose places have coins of their own."""
        return tuple(axis for axis, own in enumerate(self.own) if own)

    @property
    def shared(self) -> tuple[int, ...]:
        """The axes whose places share a coin."""
        return tuple(axis for axis, own in enumerate(self.own) if own is False)


def structure(spec: BoundSpec) -> Structure:
    """Return the structure of a bound specification."""
    sides = dict(spec.law.block)
    own: list[bool | None] = []
    block: list[int] = []
    for factors in spec.binding.axes:
        # A factor of one place has one coin either way, unless it is all there is.
        counts = [f for f in factors if f[0] > 1] or list(factors[:1])
        drawn = {coin is not None for _, coin in counts}
        side = max((sides.get(coin, 1) for _, coin in counts if coin is not None), default=1)
        split = len(drawn) > 1 or (side > 1 and len(counts) > 1)
        own.append(None if split else drawn.pop())
        block.append(side)
    tied = next((name for name in TIES if getattr(spec.law, name) is not None), None)
    return Structure(tuple(own), tuple(block), tied)
