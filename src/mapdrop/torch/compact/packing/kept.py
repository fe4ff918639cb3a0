"""The samples that drops of whole samples keep in one step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mapdrop.torch.graph.sample_axis import SampleAxis, Samples
from mapdrop.torch.graph.sample_drops import SampleDrop

Drops = frozenset[int]
_ALL: Drops = frozenset()


class _Together:
    """What some drops keep whose masks were read together: each has a stretch of these arrays.

    None of them is empty: `reduceat` would take the first value of the next one.
    """

    def __init__(self, factors: NDArray[np.float64], sizes: Sequence[int]) -> None:
        self.factors = factors
        ends = np.cumsum(sizes, dtype=np.intp)
        self.starts = ends - np.array(sizes, np.intp)
        kept = factors != 0
        self.counts = np.add.reduceat(kept, self.starts, dtype=np.intp)
        self.numbers = np.flatnonzero(kept) - np.repeat(self.starts, self.counts)
        self._lowest = np.minimum.reduceat(np.where(kept, factors, np.inf), self.starts)
        self._highest = np.maximum.reduceat(np.where(kept, factors, -np.inf), self.starts)
        self._places: dict[torch.device, tuple[Tensor, ...]] = {}

    def gain(self, number: int) -> float | None:
        """Return what all kept samples are multiplied by; None if that varies."""
        low, high = self._lowest[number], self._highest[number]
        return float(low) if low == high else 1.0 if low > high else None  # None is kept.

    def places(self, device: torch.device) -> tuple[Tensor, ...]:
        """Return the numbers of the samples that each drop keeps, sent to a device together."""
        if device not in self._places:
            numbers = torch.from_numpy(self.numbers).to(device)
            self._places[device] = numbers.split(self.counts.tolist())
        return self._places[device]


@dataclass(frozen=True)
class _Drawn:
    """What one drop keeps: its stretch of what was read together."""

    together: _Together
    number: int
    samples: int

    @property
    def count(self) -> int:
        return int(self.together.counts[self.number])

    @property
    def factors(self) -> NDArray[np.float64]:
        start = self.together.starts[self.number]
        return self.together.factors[start : start + self.samples]


class KeptSamples:
    """Which samples each drop of a step keeps, and what it multiplies them by."""

    def __init__(self) -> None:
        self._drawn: dict[int, _Drawn] = {}  # By the number of the drop.
        self._numbers: dict[Drops, NDArray[np.intp]] = {}
        self._places: dict[tuple[Drops, Drops, torch.device], Tensor | None] = {}

    def draw(self, drops: Sequence[SampleDrop], given: Sequence[Sequence[Tensor]]) -> None:
        """Draw what some drops keep, each from what its mask follows from.

        If all masks are on one device, it is waited for once.
        """
        with torch.no_grad():
            factors = [drop.factors(*own) for drop, own in zip(drops, given, strict=True)]
            if len({found.device for found in factors}) > 1:  # Of drops of several libraries.
                factors = [found.cpu() for found in factors]
            read = torch.cat(factors).cpu().double().numpy()
        together = _Together(read, [drop.at.samples for drop in drops])
        for number, drop in enumerate(drops):
            self._drawn[drop.number] = _Drawn(together, number, drop.at.samples)

    def numbers(self, drops: Drops) -> NDArray[np.intp]:
        """Return the numbers of the samples that all of some drops keep."""
        if drops not in self._numbers:
            kept = np.logical_and.reduce([self._drawn[drop].factors != 0 for drop in drops])
            self._numbers[drops] = np.flatnonzero(kept)
        return self._numbers[drops]

    def entries(self, samples: Samples) -> NDArray[np.intp] | None:
        """Return which indices of the axis some samples have; None if the host does not know."""
        at, kept = samples.at, self.numbers(samples.drops)
        before, after = (np.arange(n) for n in (at.before, at.after))
        return np.asarray(
            (before[:, None, None] * at.samples + kept[:, None]) * at.after + after
        ).reshape(-1)

    def count(self, drops: Drops) -> int:
        """Return the length of an array of the samples that all of some drops keep."""
        if len(drops) == 1:
            return self._drawn[next(iter(drops))].count
        return len(self.numbers(drops))

    def scaled(self, x: Tensor, drop: SampleDrop, drops: Drops) -> Tensor:
        """Return a drop's result, of which x has the samples that `drops` keep."""
        factor = self._factor(drop, drops, x)
        return x if isinstance(factor, float) and factor == 1 else x * factor

    def _factor(self, drop: SampleDrop, drops: Drops, x: Tensor) -> float | Tensor:
        """Return one number, if it is the same for all, or an array to multiply by."""
        drawn = self._drawn[drop.number]
        gain = drawn.together.gain(drawn.number)
        if gain is not None:
            return gain
        factors = drawn.factors[self.numbers(drops)]
        shape = [1] * x.dim()
        shape[drop.at.axis] = len(factors)
        return torch.from_numpy(factors).to(x.device, x.dtype).view(shape)

    def _place(self, have: Drops, want: Drops, device: torch.device) -> Tensor | None:
        """Return where the samples that `want` keeps stand among those that `have` keeps.

        None if they are the same. `have` is a part of `want`.
        """
        key = have, want, device
        if key not in self._places:
            self._places[key] = self._found_place(have, want, device)
        return self._places[key]

    def _found_place(self, have: Drops, want: Drops, device: torch.device) -> Tensor | None:
        any_drop, *others = want
        drawn = self._drawn[any_drop]
        if have == want or self.count(want) == (self.count(have) if have else drawn.samples):
            return None
        if not (have or others):
            return drawn.together.places(device)[drawn.number]
        found = self.numbers(want)
        at = np.searchsorted(self.numbers(have), found) if have else found
        return torch.from_numpy(at).to(device)

    def move(self, x: Tensor, have: Samples | None, want: Samples | None) -> Tensor:
        """Return an array for other samples; those that it does not have are zero."""
        before, after = (s.drops if s is not None else _ALL for s in (have, want))
        common = before & after
        if have is not None:
            x = self._spread(x, have, common)
        return x if want is None else self._take(x, want.at, common, after)

    def add(
        self, x: Tensor, to: Samples | None, y: Tensor, have: Samples, drop: SampleDrop | None
    ) -> Tensor:
        """Return x, which has the samples of `to`, with y added to those of `have`.

        Of a drop, y has yet to be multiplied by the factors.
        """
        factor = 1.0 if drop is None else self._factor(drop, have.drops, y)
        place = self._place(_ALL if to is None else to.drops, have.drops, x.device)
        alpha = factor if isinstance(factor, float) else 1.0
        added = y if isinstance(factor, float) else y * factor
        if place is None:
            return torch.add(x, added, alpha=alpha)
        return have.at.add(x, place, added, alpha)

    def _take(self, x: Tensor, at: SampleAxis, have: Drops, want: Drops) -> Tensor:
        """Return the samples that `want` keeps of those that `have` keeps."""
        place = self._place(have, want, x.device)
        return x if place is None else at.take(x, place)

    def _spread(self, x: Tensor, have: Samples, drops: Drops) -> Tensor:
        """Return an array of all samples that `drops` keep, which are more; the others are zero."""
        place = self._place(drops, have.drops, x.device)
        if place is None:
            return x
        samples = self.count(drops) if drops else have.at.samples
        return have.at.spread(x, place, samples)
