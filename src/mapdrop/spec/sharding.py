"""Which indices of a whole axis this process holds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class LocalRange:
    """The indices start, start + step, ... that this process holds, of `size` in all."""

    start: int
    step: int
    size: int

    def indices(self, count: int) -> NDArray[np.int64]:
        """The first `count` of them."""
        return self.start + self.step * np.arange(count, dtype=np.int64)

    def within(self, outer: LocalRange) -> LocalRange:
        """The same, where this axis is itself a part of another."""
        return LocalRange(outer.start + outer.step * self.start, outer.step * self.step, outer.size)


@dataclass(frozen=True)
class Shard:
    """Part number `rank` of `ranks` along an axis.

    `dim` is the axis, `size` how long the whole axis is, or None where all parts are equally long.
    Contiguous parts are cut as torch.chunk and DTensor cut them: all are of ceil(size / ranks), and
    the last ones are what is left. Strided ones are dealt like cards, as DistributedSampler does.
    """

    dim: int
    rank: int
    ranks: int
    size: int | None = None
    strided: bool = False

    def from_the_last(self, rank: int) -> Shard:
        """The same with `dim` counted from the last of an array's `rank` axes: -1, -2, ...

        Where other axes are put in front, it stays what it is. Raises ValueError.
        """
        if not -rank <= self.dim < rank:
            raise ValueError(
                f"axis {self.dim} is cut into {self.ranks} parts, but the array has {rank} axes: "
                "leave the layers that drop from whole arrays out of the context"
            )
        return self if self.dim < 0 else replace(self, dim=self.dim - rank)

    def local(self, size: int) -> int:
        """How long this part of an axis of that size is."""
        if self.strided:
            return -((self.rank - size) // self.ranks)
        return max(0, min(self._chunk(size), size - self.rank * self._chunk(size)))

    def range(self, size: int) -> LocalRange:
        """Its indices in an axis of that size."""
        if self.strided:
            return LocalRange(self.rank, self.ranks, size)
        return LocalRange(min(self.rank * self._chunk(size), size), 1, size)

    def _chunk(self, size: int) -> int:
        return -(-size // self.ranks)


def local_ranges(shards: Iterable[Shard], shape: tuple[int, ...]) -> dict[int, LocalRange]:
    """Return the indices that an array of `shape` holds of each axis that is cut.

    Where an axis is cut more than once, the later cuts are parts of the earlier ones' parts. Raises
    ValueError where the array is not as long as the shards say.
    """
    found: dict[int, list[Shard]] = {}
    for shard in shards:
        found.setdefault(shard.from_the_last(len(shape)).dim + len(shape), []).append(shard)
    return {dim: _range(cuts, shape[dim], dim) for dim, cuts in sorted(found.items())}


def _range(cuts: list[Shard], length: int, dim: int) -> LocalRange:
    sizes: list[int] = []
    for cut in reversed(cuts):
        sizes.append((sizes or [length])[-1] * cut.ranks if cut.size is None else cut.size)
    held, result = sizes[-1], LocalRange(0, 1, sizes[-1])
    for cut in cuts:
        result, held = cut.range(held).within(result), cut.local(held)
    if held != length:
        raise ValueError(
            f"part {', '.join(f'{c.rank} of {c.ranks}' for c in cuts)} of an axis of {result.size} "
            f"has {held} indices, axis {dim} of the array has {length}: give size= the length of "
            "the whole axis, or leave it out where all parts are equally long"
        )
    return result


def written(shards: Iterable[Shard]) -> str:
    """Shards as text, without blanks."""
    return ",".join(
        f"{s.dim}:{s.rank}:{s.ranks}:{'' if s.size is None else s.size}:{'s' * s.strided}"
        for s in shards
    )


def read(text: str) -> tuple[Shard, ...]:
    """What `written` wrote."""
    parts = (part.split(":") for part in text.split(","))
    return tuple(
        Shard(int(dim), int(rank), int(ranks), int(size) if size else None, bool(strided))
        for dim, rank, ranks, size, strided in parts
    )
