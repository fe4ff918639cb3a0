"""The packed layout: which row of a packed array has which map.

An array of shape (samples, channels, *space) is packed to (1, rows, *space): sample after sample,
the maps in the set by increasing channel. For example, with maps 0 and 2 of sample 0 and map 1 of
sample 1 in the set:

    sample    channels in the set    rows
    0         0, 2                   0, 1
    1         1                      2

To PyTorch a packed array is a batch of one sample with `rows` channels, so that an operation that
treats every map alike works on it unchanged.

PyTorch's convolutions work on blocks of channels, and compile code for every new number of them.
For these each sample's rows are padded to a multiple of `BLOCK` with zero maps.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mapdrop.torch.graph.lattice import Bits, equal_rows

BLOCK = 16  # Channels in a block of oneDNN's with 512-bit registers; with shorter ones, 8 or 4.
IndexArray = NDArray[np.int64]


@dataclass(frozen=True)
class Samples:
    """Samples `first` to `last` - 1, each with `size` maps, in rows from `start` on."""

    first: int
    last: int
    start: int
    size: int

    @property
    def rows(self) -> slice:
        """Return the rows of the packed array."""
        return slice(self.start, self.start + (self.last - self.first) * self.size)

    def view(self, packed: Tensor, low: int, high: int) -> Tensor:
        """Return samples low to high - 1 as a view of shape (samples, maps, *space)."""
        begin = self.start + (low - self.first) * self.size
        end = begin + (high - low) * self.size
        return packed[0, begin:end].view(high - low, self.size, *packed.shape[2:])


@dataclass(frozen=True)
class Run(Samples):
    """Samples that have the same maps.

    `channels` are those of a sample's rows; one past the last channel stands for a zero map.
    """

    channels: IndexArray

    @cached_property
    def index(self) -> Tensor:
        """The channels as a tensor."""
        return torch.from_numpy(self.channels)


@dataclass(frozen=True, eq=False)
class Layout:
    """The rows of a batch of `samples` samples with `channels` channels.

    Attributes:
        sample_starts: each sample's first row, and the number of rows at the end.
        row_channels: each row's channel; `channels` for a zero map.
        stretches: (first, last) of samples that have the same maps, in order.
    """

    samples: int
    channels: int
    sample_starts: IndexArray
    row_channels: IndexArray
    stretches: tuple[tuple[int, int], ...]

    @classmethod
    def from_bits(cls, bits: Bits, block: int = 1, least: int = 0) -> Layout:
        """Return the layout of a set.

        Args:
            bits: the set, of shape (samples, channels).
            block: each sample's rows are padded to a multiple of it.
            least: rows of each sample if the set is empty.
        """
        samples, channels = bits.shape
        counts = bits.sum(1)
        least = 0 if counts.any() else least
        starts = _starts(np.maximum(least, np.minimum(-(-counts // block) * block, channels)))
        rows = np.full(starts[-1], channels, np.int64)
        padding = starts[:-1] - _starts(counts)[:-1]  # Rows for zero maps before each sample.
        places = np.arange(counts.sum()) + np.repeat(padding, counts)
        rows[places] = np.nonzero(bits)[1]
        return cls(samples, channels, starts, rows, tuple(equal_rows(bits)))

    @classmethod
    def concatenated(cls, parts: list[Layout]) -> Layout:
        """Return layouts side by side along the channels: per sample, all rows of each part."""
        total = sum(part.channels for part in parts)
        offsets = itertools.accumulate((part.channels for part in parts), initial=0)
        shifted = [
            np.where(part.row_channels < part.channels, part.row_channels + offset, total)
            for part, offset in zip(parts, offsets, strict=False)
        ]
        order = np.argsort(np.concatenate([part.row_samples for part in parts]), kind="stable")
        edges = {edge for part in parts for stretch in part.stretches for edge in stretch}
        return cls(
            parts[0].samples,
            total,
            np.sum([part.sample_starts for part in parts], axis=0),
            np.concatenate(shifted)[order],
            tuple(itertools.pairwise(sorted(edges))),
        )

    @property
    def rows(self) -> int:
        """The number of rows of a packed array."""
        return int(self.sample_starts[-1])

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        """The stretches of samples that have the same maps."""
        starts = self.sample_starts.tolist()
        sizes = [starts[first + 1] - starts[first] for first, _ in self.stretches]
        return tuple(
            Run(first, last, starts[first], n, self.row_channels[starts[first] : starts[first] + n])
            for (first, last), n in zip(self.stretches, sizes, strict=True)
        )

    @cached_property
    def row_samples(self) -> IndexArray:
        """Each row's sample."""
        return np.repeat(np.arange(self.samples), np.diff(self.sample_starts))

    @cached_property
    def dense_index(self) -> IndexArray:
        """Each row's index among the maps of the dense array; -1 for a zero map."""
        index = self.row_samples * self.channels + self.row_channels
        return np.where(self.row_channels < self.channels, index, -1)

    @cached_property
    def row_index(self) -> IndexArray:
        """The row of each map of the dense array; -1 if it has none."""
        rows = np.full(self.samples * self.channels, -1, np.int64)
        present = self.dense_index >= 0
        rows[self.dense_index[present]] = np.flatnonzero(present)
        return rows

    @property
    def channel_tensor(self) -> Tensor:
        """`row_channels` as a tensor."""
        return torch.from_numpy(self.row_channels)

    @property
    def sample_tensor(self) -> Tensor:
        """`row_samples` as a tensor."""
        return torch.from_numpy(self.row_samples)

    def rows_of(self, other: Layout) -> IndexArray:
        """Return, for each row of `other`, the row here that has its map; -1 if none has."""
        index = other.dense_index
        return np.where(index >= 0, self.row_index[index], -1)


@lru_cache(maxsize=256)
def dense_layout(samples: int, channels: int) -> Layout:
    """Return the layout of all maps, in which the packed array is the reshaped dense array."""
    starts = np.arange(samples + 1) * channels
    rows = np.tile(np.arange(channels), samples)
    return Layout(samples, channels, starts, rows, ((0, samples),))


def _starts(sizes: IndexArray) -> IndexArray:
    """Return where pieces of these sizes begin, one after the other, and where the last ends."""
    return np.concatenate([[0], np.cumsum(sizes)])


def aligned_runs(layouts: list[Layout]) -> list[tuple[int, int, list[Run]]]:
    """Return the longest stretches of samples that lie in one run of each layout.

    Each is (first, last, the run of every layout).
    """
    edges = sorted(
        {edge for layout in layouts for run in layout.runs for edge in (run.first, run.last)}
    )
    at = [0] * len(layouts)
    stretches = []
    for first, last in itertools.pairwise(edges):
        for i, layout in enumerate(layouts):
            while layout.runs[at[i]].last <= first:
                at[i] += 1
        runs = [layout.runs[j] for layout, j in zip(layouts, at, strict=True)]
        stretches.append((first, last, runs))
    return stretches
