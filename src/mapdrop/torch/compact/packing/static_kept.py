"""The samples that drops keep in one step, where their number is known before a mask is drawn.

A drop that keeps a floor or a ceil of samples runs its branch for the ceil. Where it keeps fewer, a
copy of the first kept sample fills the place, and is multiplied by zero (see `padded`).

To take samples out and to put them back both gather: each is the other's gradient. A compiler makes
one pass of that and the operations around it; to scatter is slower, and needs a pass of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mapdrop.backends.torch.rows import padded, scaled
from mapdrop.torch.compact.packing.kept import Drops, KeptSamples
from mapdrop.torch.graph.sample_axis import SampleAxis, Samples
from mapdrop.torch.graph.sample_drops import SampleDrop


class _Moves(NamedTuple):
    """How to go from more samples to fewer, and back.

    Attributes:
        place: where each of the fewer stands among the more.
        back: where each of the more stands among the fewer; any number for those that are missing.
        present: which of the more are there.
        valid: which of the fewer are no copies.
    """

    place: Tensor
    back: Tensor
    present: Tensor
    valid: Tensor


class StaticKeptSamples(KeptSamples):
    """As `KeptSamples`, with masks that stay on the device, and counts that are known."""

    def __init__(self) -> None:
        super().__init__()
        self._masks: dict[int, Tensor] = {}
        self._most: dict[int, int] = {}
        self._moves: dict[tuple[Drops, Drops], _Moves] = {}

    def draw(self, drops: Sequence[SampleDrop], given: Sequence[Sequence[Tensor]]) -> None:
        """See `KeptSamples`."""
        for drop, own in zip(drops, given, strict=True):
            assert drop.most is not None
            self._masks[drop.number] = drop.factors_on_device(*own)
            self._most[drop.number] = drop.most

    def entries(self, samples: Samples) -> None:
        """See `KeptSamples`."""
        return

    def count(self, drops: Drops) -> int:
        """See `KeptSamples`. Several drops keep no more together than any of them."""
        return min(self._most[drop] for drop in drops)

    def scaled(self, x: Tensor, drop: SampleDrop, drops: Drops) -> Tensor:
        """See `KeptSamples`."""
        moves = self._between(frozenset(), drops)
        each = self._masks[drop.number].index_select(0, moves.place)
        return scaled(x, torch.where(moves.valid, each, 0), known=True)

    def add(
        self, x: Tensor, to: Samples | None, y: Tensor, have: Samples, drop: SampleDrop | None
    ) -> Tensor:
        """See `KeptSamples`."""
        added = y if drop is None else self.scaled(y, drop, have.drops)
        return x + self._spread(added, have, frozenset() if to is None else to.drops)

    def _take(self, x: Tensor, at: SampleAxis, have: Drops, want: Drops) -> Tensor:
        if have == want:
            return x
        taken: Tensor = _Take.apply(x, at, *self._between(have, want)[:3])
        return taken

    def _spread(self, x: Tensor, have: Samples, drops: Drops) -> Tensor:
        if have.drops == drops:
            return x
        spread: Tensor = _Spread.apply(x, have.at, *self._between(drops, have.drops)[:3])
        return spread

    def _between(self, have: Drops, want: Drops) -> _Moves:
        key = have, want
        if key not in self._moves:
            self._moves[key] = self._found_moves(have, want)
        return self._moves[key]

    def _found_moves(self, have: Drops, want: Drops) -> _Moves:
        kept = self._kept(want)
        if have:
            more = self._between(frozenset(), have)
            kept = kept.index_select(0, more.place) & more.valid
        place, valid = padded(kept, self.count(want))
        return _Moves(place, (kept.cumsum(0) - 1).clamp(min=0), kept, valid)

    def _kept(self, drops: Drops) -> Tensor:
        """Return which samples all of some drops keep."""
        return torch.stack([self._masks[drop] != 0 for drop in sorted(drops)]).all(0)


class _Take(torch.autograd.Function):
    """Take samples out of an array. Nothing comes back from the copies: it would be zero."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, at: SampleAxis, place: Tensor, back: Tensor, present: Tensor
    ) -> Tensor:
        ctx.at, ctx.moves = at, (place, back, present)
        return at.take(x, place)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        return _Spread.apply(gradient, ctx.at, *ctx.moves), None, None, None, None


class _Spread(torch.autograd.Function):
    """Put samples back among the others, which become zero. The copies are zero, and go nowhere."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, at: SampleAxis, place: Tensor, back: Tensor, present: Tensor
    ) -> Tensor:
        ctx.at, ctx.moves = at, (place, back, present)
        every = at.take(x, back)
        return torch.where(at.along(present, every.dim()), every, 0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        return _Take.apply(gradient, ctx.at, *ctx.moves), None, None, None, None
