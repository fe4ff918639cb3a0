"""Where the maps of a set lie in memory: a packed array is a batch of one, whose channels they are.

An array of shape (samples, channels, *space) is packed to (1, rows, *space): sample after sample,
and for each the maps in the set by channel. Operations that treat every map alike then work on a
packed array as they are.

Where PyTorch's convolutions read them, each sample's rows are filled up to a multiple of `BLOCK`
with zero maps: they work on blocks of so many channels anyway, and compile code for every new
number of them.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mapdrop.torch.compact.lattice import Bits

BLOCK = 16  # Channels in a block of oneDNN's with 512-bit registers; with shorter ones, 8 or 4.
Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Run:
    """Samples `first` to `last` - 1, which have the same maps, in `rows` of a packed array.

    `ids` are their channels, `channels` (one too many) for a zero map.
    """

    first: int
    last: int
    start: int
    ids: Ids

    @property
    def rows(self) -> slice:
        """Of the packed array."""
        return slice(self.start, self.start + (self.last - self.first) * len(self.ids))

    def of(self, packed: Tensor, low: int, high: int) -> Tensor:
        """Samples low to high - 1 of the run: a view of shape (samples, maps, *space)."""
        k = len(self.ids)
        at = self.start + (low - self.first) * k
        return packed[0, at : at + (high - low) * k].view(high - low, k, *packed.shape[2:])

    @cached_property
    def index(self) -> Tensor:
        """The ids as a tensor."""
        return torch.from_numpy(self.ids)


@dataclass(frozen=True, eq=False)
class Layout:
    """The runs of a batch of `samples` with `channels` channels."""

    samples: int
    channels: int
    runs: tuple[Run, ...]

    @classmethod
    def of(cls, bits: Bits, block: int = 1, least: int = 0) -> Layout:
        """For a set of shape (samples, channels).

        Rows come in multiples of `block`; there are `least` for each sample where the set is empty.
        """
        samples, channels = bits.shape
        least = 0 if bits.any() else least
        runs, start = [], 0
        for first, last in equal_rows(bits):
            found = np.flatnonzero(bits[first])
            size = max(least, min(-(-len(found) // block) * block, channels))
            ids = np.full(size, channels, np.int64)
            ids[: len(found)] = found
            runs.append(Run(first, last, start, ids))
            start += size * (last - first)
        return cls(samples, channels, tuple(runs))

    @classmethod
    def joined(cls, parts: list[Layout]) -> Layout:
        """Side by side along the channels: each sample's rows of the first, then of the next."""
        total = sum(part.channels for part in parts)
        runs, start = [], 0
        for first, last, members in aligned(parts):
            pieces, offset = [], 0
            for part, run in zip(parts, members, strict=True):
                pieces.append(np.where(run.ids < part.channels, run.ids + offset, total))
                offset += part.channels
            ids = np.concatenate(pieces)
            runs.append(Run(first, last, start, ids))
            start += len(ids) * (last - first)
        return cls(parts[0].samples, total, tuple(runs))

    @cached_property
    def rows(self) -> int:
        """How many maps a packed array has."""
        return self.runs[-1].rows.stop if self.runs else 0

    @cached_property
    def first(self) -> Ids:
        """Each sample's first row, and how many rows there are."""
        sizes = [len(run.ids) for run in self.runs for _ in range(run.first, run.last)]
        return np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]).astype(np.int64)

    @cached_property
    def sample(self) -> Ids:
        """Each row's sample."""
        pieces = [np.repeat(np.arange(r.first, r.last), len(r.ids)) for r in self.runs]
        return np.concatenate(pieces) if pieces else np.zeros(0, np.int64)

    @cached_property
    def channel(self) -> Ids:
        """Each row's channel; `channels` for a zero map."""
        pieces = [np.tile(r.ids, r.last - r.first) for r in self.runs]
        return np.concatenate(pieces) if pieces else np.zeros(0, np.int64)

    @cached_property
    def number(self) -> Ids:
        """Each row's place in the whole array, sample by sample; -1 for a zero map."""
        place = self.sample * self.channels + self.channel
        return np.where(self.channel < self.channels, place, -1)

    @cached_property
    def place(self) -> Ids:
        """For each map of the whole array its row; -1 where there is none."""
        rows = np.full(self.samples * self.channels, -1, np.int64)
        number = self.number
        present = number >= 0
        rows[number[present]] = np.flatnonzero(present)
        return rows

    @property
    def channel_of_rows(self) -> Tensor:
        """`channel` as a tensor."""
        return torch.from_numpy(self.channel)

    @property
    def sample_of_rows(self) -> Tensor:
        """`sample` as a tensor."""
        return torch.from_numpy(self.sample)

    def find(self, wanted: Layout) -> Ids:
        """For each row of `wanted` its row here; -1 where there is none."""
        number = wanted.number
        return np.where(number >= 0, self.place[number], -1)


def whole(samples: int, channels: int) -> Layout:
    """All maps of all samples: the packed array is the array itself in another shape."""
    return Layout(samples, channels, (Run(0, samples, 0, np.arange(channels)),))


def aligned(layouts: list[Layout]) -> list[tuple[int, int, list[Run]]]:
    """The longest stretches of samples (first, last, runs) that lie in one run of each layout."""
    edges = sorted(
        {edge for layout in layouts for run in layout.runs for edge in (run.first, run.last)}
    )
    places = [0] * len(layouts)
    found = []
    for first, last in itertools.pairwise(edges):
        for i, layout in enumerate(layouts):
            while layout.runs[places[i]].last <= first:
                places[i] += 1
        runs = [layout.runs[at] for layout, at in zip(layouts, places, strict=True)]
        found.append((first, last, runs))
    return found


def equal_rows(bits: Bits) -> list[tuple[int, int]]:
    """The longest stretches of equal rows."""
    if len(bits) == 0:
        return []
    changes = np.flatnonzero((bits[1:] != bits[:-1]).any(axis=1)) + 1
    edges = [0, *changes.tolist(), len(bits)]
    return list(itertools.pairwise(edges))
