"""Operations that rearrange maps without changing them: concatenate, slice, flatten."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.fx import Node

from mapdrop.torch.compact.lattice import (
    Concatenated,
    MapSet,
    NoMaps,
    channel_slice,
    concatenated,
)
from mapdrop.torch.compact.node import Env
from mapdrop.torch.compact.ops.op import Op
from mapdrop.torch.compact.packing.gather import convert
from mapdrop.torch.compact.packing.layout import Layout, aligned_runs
from mapdrop.torch.compact.storage import StepState, Storage


class Concatenate(Op):
    """Arrays side by side along the channels."""

    homogeneous = True
    static = False

    def __init__(self, sources: list[Node], channels: list[int]) -> None:
        self.sources, self.channels = tuple(sources), channels

    def nonzero(self, inputs: list[MapSet]) -> MapSet:
        return concatenated(inputs)

    def live(self, output: MapSet) -> list[MapSet]:
        firsts = [sum(self.channels[:i]) for i in range(len(self.channels))]
        return [channel_slice(output, a, n) for a, n in zip(firsts, self.channels, strict=True)]

    def input_storages(self, storage: Storage) -> list[Storage]:
        """Return each input's part of the output's maps: packed, even if these are all maps."""
        assert storage.maps is not None
        return [Storage(maps, storage.gain) for maps in self.live(storage.maps)]

    def run(self, values: list[Tensor], env: Env, state: StepState, storage: Storage) -> Tensor:
        assert storage.maps is not None
        parts = self.live(storage.maps)
        layouts = [state.layout_or_dense(maps) for maps in parts]
        rows = [v.reshape(1, -1, *v.shape[2:]) for v in values]
        views = [
            run.view(value, i, i + 1)
            for first, last, runs in aligned_runs(layouts)
            for i in range(first, last)
            for value, run in zip(rows, runs, strict=True)
        ]
        packed = torch.cat(views, 1)
        if isinstance(storage.maps, Concatenated) and list(storage.maps.parts) == parts:
            return packed
        layout = state.layout(storage.maps)
        assert layout is not None
        return convert(packed, Layout.concatenated(layouts), layout)


class Slice(Op):
    """Some neighbouring channels, as chunk, split and narrow return them."""

    homogeneous = True
    static = False

    def __init__(self, source: Node, total: int, first: int, channels: int) -> None:
        self.sources = (source,)
        self.total, self.first, self.channels = total, first, channels

    def nonzero(self, inputs: list[MapSet]) -> MapSet:
        return channel_slice(inputs[0], self.first, self.channels)

    def live(self, output: MapSet) -> list[MapSet]:
        rest = self.total - self.first - self.channels
        pieces = [NoMaps(self.first), output, NoMaps(rest)]
        return [concatenated([p for p in pieces if p.channels])]

    def input_storages(self, storage: Storage) -> list[Storage]:
        assert storage.maps is not None
        return [Storage(self.live(storage.maps)[0], storage.gain)]

    def run(self, values: list[Tensor], env: Env, state: StepState, storage: Storage) -> Tensor:
        """Return the input: it has no other maps than these."""
        return values[0]


class Flatten(Op):
    """(samples, channels, *space) to (samples, features): a map becomes neighbouring features."""

    homogeneous = True

    def __init__(self, source: Node) -> None:
        self.sources = (source,)

    def nonzero(self, inputs: list[MapSet]) -> MapSet:
        return inputs[0]

    def live(self, output: MapSet) -> list[MapSet]:
        return [output]

    def run(self, values: list[Tensor], env: Env, state: StepState, storage: Storage) -> Tensor:
        """Return an array of shape (1, rows, features of a map)."""
        return values[0].flatten(2) if values[0].dim() > 2 else values[0].unsqueeze(2)
