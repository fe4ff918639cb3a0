"""The operation that compact is about: a drop of whole maps."""

from __future__ import annotations

from torch import Tensor

from mapdrop.torch.compact.packed.per_map import PackedIdentity
from mapdrop.torch.compact.packing.storage import StepState, Storage
from mapdrop.torch.graph.facts import DropFacts
from mapdrop.torch.graph.program import Env


class PackedDrop(PackedIdentity):
    """A drop: a packed array does not have what it drops, and its gain is applied later.

    The gain of a scheduled rate is known only now, and is applied here.
    """

    facts: DropFacts

    def run(self, values: list[Tensor], env: Env, state: StepState, storage: Storage) -> Tensor:
        gain = state.drawn[self.facts.kept.number].gain
        return values[0] if gain == 1 else values[0] * gain

    def input_storages(self, storage: Storage) -> list[Storage]:
        """Return the same storage without this drop's factor."""
        return [Storage(storage.maps, storage.gain / self.facts.drop.gain)]
