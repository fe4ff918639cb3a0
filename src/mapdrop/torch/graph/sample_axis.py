"""Where an array has its samples, and which of them are needed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod

from torch import Tensor

from mapdrop.backends.torch.rows import add_rows, spread_rows, take_rows


@dataclass(frozen=True)
class SampleAxis:
    """The axis with the samples: it has before * samples * after entries, in this order.

    More than the samples alone are in an axis that others were folded into, as windows are.
    """

    axis: int
    samples: int
    before: int = 1
    after: int = 1

    @property
    def size(self) -> int:
        """The number of entries of the axis."""
        return self.before * self.samples * self.after

    def shape(self, shape: Sequence[int], samples: int) -> tuple[int, ...]:
        """Return the shape of an array with so many samples."""
        entries = self.before * samples * self.after
        return (*shape[: self.axis], entries, *shape[self.axis + 1 :])

    def moved(self, axis: int) -> SampleAxis:
        """Return the same in another axis."""
        return replace(self, axis=axis)

    def reshaped(self, shape: Sequence[int], other: Sequence[int]) -> SampleAxis | None:
        """Return where an array of another shape with the same values in a row has them."""
        before = prod(shape[: self.axis]) * self.before
        for axis, size in enumerate(other):
            outside = prod(other[:axis])
            if not outside or before % outside or outside * size % (before * self.samples):
                continue
            if outside * size >= before * self.samples:
                left, right = before // outside, outside * size // (before * self.samples)
                return SampleAxis(axis, self.samples, left, right)
        return None

    def along(self, values: Tensor, rank: int) -> Tensor:
        """Return a value for each of some samples, to combine with arrays of such a rank."""
        entries = values.view(1, -1, 1).expand(self.before, -1, self.after).reshape(-1)
        return entries.view(-1, *[1] * (rank - 1 - self.axis))

    def take(self, x: Tensor, samples: Tensor) -> Tensor:
        """Return the array of some samples. The memory layout stays."""
        if self.before == self.after == 1:
            return take_rows(x, self.axis, samples)
        return self._whole(take_rows(self._parts(x), self.axis + 1, samples))

    def add(self, x: Tensor, samples: Tensor, y: Tensor, factor: float = 1.0) -> Tensor:
        """Return x with `factor * y` added to some samples. The memory layout stays."""
        if self.before == self.after == 1:
            return add_rows(x, self.axis, samples, y, factor)
        axis = self.axis + 1
        return self._whole(add_rows(self._parts(x), axis, samples, self._parts(y), factor))

    def spread(self, y: Tensor, samples: Tensor, count: int) -> Tensor:
        """Return an array of so many samples: y at some of them, zeros elsewhere."""
        if self.before == self.after == 1:
            return spread_rows(y, self.axis, samples, count)
        return self._whole(spread_rows(self._parts(y), self.axis + 1, samples, count))

    def _parts(self, x: Tensor) -> Tensor:
        parts: Tensor = x.unflatten(self.axis, (self.before, -1, self.after))
        return parts

    def _whole(self, parts: Tensor) -> Tensor:
        return parts.flatten(self.axis, self.axis + 2)


@dataclass(frozen=True)
class Samples:
    """The samples that each of some drops keeps, and where an array has them.

    With more drops they are fewer.
    """

    drops: frozenset[int]
    at: SampleAxis

    def and_kept_by(self, drop: int) -> Samples:
        """Return those of these samples that a drop keeps."""
        return replace(self, drops=self.drops | {drop})


def union(sets: Iterable[Samples | None]) -> Samples | None:
    """Return samples with all of some sets; None if these may be all samples."""
    given: Iterator[Samples | None] = iter(sets)
    total = next(given, None)
    for one in given:
        if total is None or one is None or total.at != one.at:
            return None
        total = replace(total, drops=total.drops & one.drops)
    return total if total is not None and total.drops else None
