"""The packed layout with static shapes: every sample keeps the same number of maps.

Sizes are known before a mask is drawn, and channels are a tensor. Nothing reads a mask on the host,
so that a compiler can trace it and the host need not wait for a GPU. All operations are PyTorch's
own, and differentiable.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from mapdrop.torch.compact.packing.layout import Samples
from mapdrop.torch.graph.lattice import Kept


@dataclass(frozen=True)
class StaticRun(Samples):
    """Samples that have the same maps, with the channels as a tensor."""

    index: Tensor


class StaticLayout:
    """As `Layout`, for runs of samples with as many maps each.

    Args:
        samples, channels: of the dense array.
        edges: the runs, (first sample, last + 1).
        index: the channels of each run's rows, of shape (runs, rows of a sample).
    """

    samples: int
    channels: int

    def __init__(
        self, samples: int, channels: int, edges: tuple[tuple[int, int], ...], index: Tensor
    ) -> None:
        self.samples, self.channels = samples, channels
        self.rows_per_sample: int = index.shape[1]
        self.rows: int = samples * self.rows_per_sample
        self.runs: tuple[StaticRun, ...] = tuple(
            StaticRun(first, last, first * index.shape[1], index.shape[1], row)
            for (first, last), row in zip(edges, index.unbind(), strict=True)
        )

    @classmethod
    def from_bits(cls, kept: Kept, bits: Tensor, block: int) -> StaticLayout:
        """Return the layout of the maps that an exact drop keeps.

        Args:
            kept: the drop's set, of which the count and the runs are known.
            bits: its mask, of shape (samples, channels).
            block: each sample's rows are padded to a multiple of it.
        """
        samples, channels = bits.shape
        # Stacked: an index tensor would have to be sent to a GPU.
        first = torch.stack([bits[low] for low, _ in kept.edges])
        order = first.to(torch.int8).argsort(dim=1, descending=True, stable=True)
        size = min(-(-kept.count // block) * block, channels)
        index = torch.nn.functional.pad(
            order[:, : kept.count], (0, size - kept.count), value=channels
        )
        return cls(samples, channels, kept.edges, index)

    @cached_property
    def channel_tensor(self) -> Tensor:
        """Each row's channel; `channels` for a zero map."""
        return torch.cat([run.index.repeat(run.last - run.first) for run in self.runs])

    @cached_property
    def sample_tensor(self) -> Tensor:
        """Each row's sample."""
        samples = torch.arange(self.samples, device=self.runs[0].index.device)
        return samples.unsqueeze(1).expand(-1, self.rows_per_sample).reshape(-1)

    def pack(self, values: Tensor) -> Tensor:
        """Return (1, rows, *space) from (samples, channels, *space)."""
        channel = self.channel_tensor
        gathered = values.flatten(0, 1).index_select(
            0, self.sample_tensor * self.channels + channel.clamp(max=self.channels - 1)
        )
        present = (channel < self.channels).view(-1, *[1] * (gathered.dim() - 1))
        return torch.where(present, gathered, 0).unsqueeze(0)

    def unpack(self, values: Tensor) -> Tensor:
        """Return (samples, channels, *space) from (1, rows, *space), 0 for missing maps."""
        wide = self.channels + 1  # Zero maps go to a channel of their own, which is cut off.
        zeros = values.new_zeros((self.samples * wide, *values.shape[2:]))
        index = self.sample_tensor * wide + self.channel_tensor
        scattered = zeros.index_copy(0, index, values[0])
        return scattered.view(self.samples, wide, *values.shape[2:])[:, : self.channels]
