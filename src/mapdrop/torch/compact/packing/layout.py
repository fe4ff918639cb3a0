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
from functools import cached_property

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
    """The runs of a batch of `samples` samples with `channels` channels."""

    samples: int
    channels: int
    runs: tuple[Run, ...]

    @classmethod
    def from_bits(cls, bits: Bits, block: int = 1, least: int = 0) -> Layout:
        """Return the layout of a set.

        Args:
            bits: the set, of shape (samples, channels).
            block: each sample's rows are padded to a multiple of it.
            least: rows of each sample if the set is empty.
        """
        samples, channels = bits.shape
        least = 0 if bits.any() else least
        runs, start = [], 0
        for first, last in equal_rows(bits):
            kept = np.flatnonzero(bits[first])
            size = max(least, min(-(-len(kept) // block) * block, channels))
            padded = np.full(size, channels, np.int64)
            padded[: len(kept)] = kept
            runs.append(Run(first, last, start, size, padded))
            start += size * (last - first)
        return cls(samples, channels, tuple(runs))

    @classmethod
    def concatenated(cls, parts: list[Layout]) -> Layout:
        """Return layouts side by side along the channels: per sample, all rows of each part."""
        total = sum(part.channels for part in parts)
        runs, start = [], 0
        for first, last, members in aligned_runs(parts):
            pieces, offset = [], 0
            for part, run in zip(parts, members, strict=True):
                shifted = np.where(run.channels < part.channels, run.channels + offset, total)
                pieces.append(shifted)
                offset += part.channels
            channels = np.concatenate(pieces)
            runs.append(Run(first, last, start, len(channels), channels))
            start += len(channels) * (last - first)
        return cls(parts[0].samples, total, tuple(runs))

    @cached_property
    def rows(self) -> int:
        """The number of rows of a packed array."""
        return self.runs[-1].rows.stop if self.runs else 0

    @cached_property
    def sample_starts(self) -> IndexArray:
        """Each sample's first row, and the number of rows at the end."""
        sizes = [run.size for run in self.runs for _ in range(run.first, run.last)]
        return np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]).astype(np.int64)

    @cached_property
    def row_samples(self) -> IndexArray:
        """Each row's sample."""
        pieces = [np.repeat(np.arange(r.first, r.last), r.size) for r in self.runs]
        return np.concatenate(pieces) if pieces else np.zeros(0, np.int64)

    @cached_property
    def row_channels(self) -> IndexArray:
        """Each row's channel; `channels` for a zero map."""
        pieces = [np.tile(r.channels, r.last - r.first) for r in self.runs]
        return np.concatenate(pieces) if pieces else np.zeros(0, np.int64)

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


def dense_layout(samples: int, channels: int) -> Layout:
    """Return the layout of all maps, in which the packed array is the reshaped dense array."""
    return Layout(samples, channels, (Run(0, samples, 0, channels, np.arange(channels)),))


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
