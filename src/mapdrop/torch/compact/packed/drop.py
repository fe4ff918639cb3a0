"""The operation that compact is about: a drop of whole maps."""

from __future__ import annotations

from mapdrop.torch.compact.packed.per_map import PackedIdentity
from mapdrop.torch.compact.packing.storage import Storage
from mapdrop.torch.graph.facts import DropFacts


class PackedDrop(PackedIdentity):
    """A drop: a packed array does not have what it drops, and its factor is applied later."""

    facts: DropFacts

    def input_storages(self, storage: Storage) -> list[Storage]:
        """Return the same storage without this drop's factor."""
        return [Storage(storage.maps, storage.gain / self.facts.drop.gain)]
