"""The samples that drops of whole samples keep in one step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mapdrop.torch.graph.sample_axis import Samples
from mapdrop.torch.graph.sample_drops import SampleDrop

Drops = frozenset[int]
_ALL: Drops = frozenset()


class KeptSamples:
    """Which samples each drop of a step keeps, and what it multiplies them by."""

    def __init__(self) -> None:
        self._factors: dict[int, NDArray[np.float64]] = {}  # By the number of the drop.
        self._numbers: dict[Drops, NDArray[np.intp]] = {}
        self._places: dict[tuple[Drops, Drops, torch.device], Tensor | None] = {}

    def draw(self, drops: Sequence[SampleDrop], masks: Sequence[Tensor]) -> None:
        """Draw what some drops keep. A device is waited for once."""
        factors = [drop.factors(mask).double() for drop, mask in zip(drops, masks, strict=True)]
        together = (
            torch.cat(factors).cpu().numpy() if len(factors) > 1 else factors[0].cpu().numpy()
        )
        ends = np.cumsum([len(f) for f in factors])[:-1]
        for drop, own in zip(drops, np.split(together, ends), strict=True):
            self._factors[drop.number] = own

    @property
    def drops(self) -> tuple[int, ...]:
        """The numbers of the drops that were drawn, in order."""
        return tuple(sorted(self._factors))

    def numbers(self, drops: Drops) -> NDArray[np.intp]:
        """Return the numbers of the samples that all of some drops keep."""
        if drops not in self._numbers:
            kept = np.logical_and.reduce([self._factors[drop] != 0 for drop in drops])
            self._numbers[drops] = np.flatnonzero(kept)
        return self._numbers[drops]

    def factor(self, drop: SampleDrop, drops: Drops, x: Tensor) -> float | Tensor:
        """Return what a drop multiplies its samples by, of which x has those that `drops` keep."""
        factors = self._factors[drop.number][self.numbers(drops)]
        if len(factors) == 0 or (factors == factors[0]).all():
            return float(factors[0]) if len(factors) else 1.0
        shape = [1] * x.dim()
        shape[drop.at.axis] = len(factors)
        return torch.from_numpy(factors).to(x.device, x.dtype).view(shape)

    def place(self, have: Drops, want: Drops, device: torch.device) -> Tensor | None:
        """Return where the samples that `want` keeps stand among those that `have` keeps.

        None if they are the same. `have` is a part of `want`.
        """
        key = have, want, device
        if key not in self._places:
            self._places[key] = self._place(have, want, device)
        return self._places[key]

    def _place(self, have: Drops, want: Drops, device: torch.device) -> Tensor | None:
        found = self.numbers(want)
        if have == want or len(found) == (len(self.numbers(have)) if have else self._total(want)):
            return None
        at = np.searchsorted(self.numbers(have), found) if have else found
        return torch.from_numpy(at).to(device)

    def _total(self, drops: Drops) -> int:
        return len(self._factors[min(drops)])

    def move(self, x: Tensor, have: Samples | None, want: Samples | None) -> Tensor:
        """Return an array for other samples; those that it does not have are zero."""
        if have is None or want is None:
            return self._moved_to_or_from_all(x, have, want)
        common = have.drops & want.drops
        x = self._spread(x, have, common)
        place = self.place(common, want.drops, x.device)
        return x if place is None else want.at.take(x, place)

    def add(
        self, x: Tensor, to: Samples | None, y: Tensor, have: Samples, factor: float | Tensor
    ) -> Tensor:
        """Return x, which has the samples of `to`, with factor * y added to those of `have`."""
        place = self.place(_ALL if to is None else to.drops, have.drops, x.device)
        alpha = factor if isinstance(factor, float) else 1.0
        added = y if isinstance(factor, float) else y * factor
        if place is None:
            return torch.add(x, added, alpha=alpha)
        return have.at.add(x, place, added, alpha)

    def _moved_to_or_from_all(
        self, x: Tensor, have: Samples | None, want: Samples | None
    ) -> Tensor:
        if have is not None:
            return self._spread(x, have, _ALL)
        place = None if want is None else self.place(_ALL, want.drops, x.device)
        return x if place is None or want is None else want.at.take(x, place)

    def _spread(self, x: Tensor, have: Samples, drops: Drops) -> Tensor:
        place = self.place(drops, have.drops, x.device)
        if place is None:
            return x
        samples = len(self.numbers(drops)) if drops else have.at.samples
        return have.at.add(x.new_zeros(have.at.shape(x.shape, samples)), place, x)
