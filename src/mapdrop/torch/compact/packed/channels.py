"""Operations that rearrange maps without changing them: concatenate, slice, flatten."""

from __future__ import annotations

import torch
from torch import Tensor

from mapdrop.torch.compact.packed.packed import Packed
from mapdrop.torch.compact.packing.gather import convert
from mapdrop.torch.compact.packing.layout import Layout, aligned_runs
from mapdrop.torch.compact.packing.storage import StepState, Storage
from mapdrop.torch.graph.facts import Concatenate, Flatten, Slice
from mapdrop.torch.graph.lattice import Concatenated
from mapdrop.torch.graph.program import Env


class PackedConcatenate(Packed[Concatenate]):
    """Arrays side by side along the channels."""

    static = False

    def input_storages(self, storage: Storage) -> list[Storage]:
        """Return each input's part of the output's maps: packed, even if these are all maps."""
        assert storage.maps is not None
        return [Storage(maps, storage.gain) for maps in self.facts.live(storage.maps)]

    def run(self, values: list[Tensor], env: Env, state: StepState, storage: Storage) -> Tensor:
        assert storage.maps is not None
        parts = self.facts.live(storage.maps)
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
        return convert(packed, Layout.concatenated(layouts), state.layout(storage.maps))


class PackedSlice(Packed[Slice]):
    """Some neighbouring channels, as chunk, split and narrow return them."""

    static = False
    copies = False

    def input_storages(self, storage: Storage) -> list[Storage]:
        assert storage.maps is not None
        return [Storage(self.facts.live(storage.maps)[0], storage.gain)]

    def run(self, values: list[Tensor], env: Env, state: StepState, storage: Storage) -> Tensor:
        """Return the input: it has no other maps than these."""
        return values[0]


class PackedFlatten(Packed[Flatten]):
    """(samples, channels, *space) to (samples, features): a map becomes neighbouring features."""

    copies = False

    def run(self, values: list[Tensor], env: Env, state: StepState, storage: Storage) -> Tensor:
        """Return an array of shape (1, rows, features of a map)."""
        return values[0].flatten(2) if values[0].dim() > 2 else values[0].unsqueeze(2)
