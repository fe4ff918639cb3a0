"""Where maps lie when every sample keeps as many: sizes are known ahead, channels are a tensor.

Nothing here asks for a mask's values, so that a compiler can follow it and a GPU is not waited for.
All of it is plain differentiable operations.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from mapdrop.torch.compact.lattice import Kept, Maps
from mapdrop.torch.compact.packed_conv.weights import chosen_plainly
from mapdrop.torch.compact.packing.layout import Run, aligned, whole
from mapdrop.torch.compact.storage import Form, Scope


class _Run(Run):
    @cached_property
    def index(self) -> Tensor:
        """The ids, which are a tensor here."""
        return self.ids  # type: ignore[return-value]


class EqualLayout:
    """As `Layout`, for runs of samples (first, last) that have `ids`, (runs, rows of a sample)."""

    def __init__(
        self, samples: int, channels: int, edges: tuple[tuple[int, int], ...], ids: Tensor
    ) -> None:
        self.samples, self.channels, self.count = samples, channels, ids.shape[1]
        self.rows = samples * self.count
        self.runs = tuple(
            _Run(first, last, first * self.count, row)  # type: ignore[arg-type]
            for (first, last), row in zip(edges, ids.unbind(), strict=True)
        )

    @classmethod
    def of(cls, kept: Kept, bits: Tensor, block: int) -> EqualLayout:
        """Of what an exact drop keeps, with each sample's rows filled up to a multiple of `block`.

        Args:
            bits: (samples, channels), the drop's mask.
        """
        samples, channels = bits.shape
        # Not indexed by a tensor of numbers, which a GPU would have to be sent.
        first = torch.stack([bits[low] for low, _ in kept.edges])
        order = first.to(torch.int8).argsort(dim=1, descending=True, stable=True)
        size = min(-(-kept.count // block) * block, channels)
        ids = torch.nn.functional.pad(
            order[:, : kept.count], (0, size - kept.count), value=channels
        )
        return cls(samples, channels, kept.edges, ids)

    @cached_property
    def channel_of_rows(self) -> Tensor:
        """Each row's channel; `channels` for a zero map."""
        return torch.cat([run.index.repeat(run.last - run.first) for run in self.runs])

    @cached_property
    def sample_of_rows(self) -> Tensor:
        """Each row's sample."""
        every = torch.arange(self.samples, device=self.runs[0].index.device)
        return every.unsqueeze(1).expand(-1, self.count).reshape(-1)

    def pack(self, values: Tensor) -> Tensor:
        """(samples, channels, *space) to (1, rows, *space)."""
        channel = self.channel_of_rows
        picked = values.flatten(0, 1).index_select(
            0, self.sample_of_rows * self.channels + channel.clamp(max=self.channels - 1)
        )
        there = (channel < self.channels).view(-1, *[1] * (picked.dim() - 1))
        return torch.where(there, picked, 0).unsqueeze(0)

    def unpack(self, values: Tensor) -> Tensor:
        """(1, rows, *space) to (samples, channels, *space), 0 where there is no map."""
        wide = self.channels + 1  # The zero maps go into a place of their own.
        zeros = values.new_zeros((self.samples * wide, *values.shape[2:]))
        place = self.sample_of_rows * wide + self.channel_of_rows
        spread = zeros.index_copy(0, place, values[0])
        return spread.view(self.samples, wide, *values.shape[2:])[:, : self.channels]


class EqualScope(Scope):
    """A `Scope` whose masks are tensors on the device."""

    def _layout(self, maps: Maps) -> Any:
        assert isinstance(maps, Kept)
        return EqualLayout.of(maps, self.drawn[maps.number].bits, self.block)

    def convert(self, values: Tensor, source: Form, target: Form, shape: Any) -> Tensor:
        """See `Scope`."""
        have: Any = self.layout(source.maps)
        want: Any = self.layout(target.maps)
        if have is not want:
            every = values if have is None else have.unpack(values)
            values = every.reshape(shape) if want is None else want.pack(every)
        return values if source.gain == target.gain else values * (source.gain / target.gain)


def mix_equally(x: Tensor, weight: Tensor, bias: Tensor | None, job: Any) -> Tensor:
    """See `mixing.mix`."""
    outputs, inputs = job.settings.order(*weight.shape[:2])
    known = job.source or job.target
    source = job.source or whole(known.samples, inputs)
    target = job.target or whole(known.samples, outputs)
    made = []
    for low, high, (into, onto) in aligned([source, target]):
        rows = None if job.target is None else onto.index
        columns = None if job.source is None else into.index
        first, second = job.settings.order(rows, columns)
        some = chosen_plainly(weight, first, second, job.gain)
        shift = None if bias is None else chosen_plainly(bias, rows, None, 1.0)
        part = x[low:high] if job.source is None else into.of(x, low, high)
        y = job.settings.forward(part, some, shift)
        made.append(y if job.target is None else y.flatten(0, 1).unsqueeze(0))
    out = made[0] if len(made) == 1 else torch.cat(made, 0 if job.target is None else 1)
    return torch.relu(out) if job.relu else out
