"""Operations of several arrays, value by value: add, multiply, maximum."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from mapdrop.torch.compact.packed.packed import Packed
from mapdrop.torch.compact.packing.layout import Layout
from mapdrop.torch.compact.packing.static import StaticLayout
from mapdrop.torch.compact.packing.storage import DENSE, StepState, Storage
from mapdrop.torch.graph.facts import Elementwise
from mapdrop.torch.graph.graph import Node, caller
from mapdrop.torch.graph.program import Env


class PackedElementwise(Packed[Elementwise]):
    """Arrays of the output's shape, or that broadcast to it. The latter are stored dense."""

    def __init__(self, node: Node, facts: Elementwise) -> None:
        super().__init__(node, facts)
        self.call: Callable[[Mapping[Node, Any]], Any] = caller(node)

    def input_storages(self, storage: Storage) -> list[Storage]:
        return [storage if full else DENSE for full in self.facts.full]

    def run(self, values: list[Tensor], env: Env, state: StepState, storage: Storage) -> Tensor:
        layout, rank = state.layout(storage.maps), len(self.node.shape)
        operands = [
            value if full else _broadcast(value, rank, layout)
            for value, full in zip(values, self.facts.full, strict=True)
        ]
        result: Tensor = self.call(dict(zip(self.facts.sources, operands, strict=True)))
        return result.to(self.node.value.dtype)  # In place it would have kept its type.


def _broadcast(value: Tensor, rank: int, layout: Layout | StaticLayout) -> Tensor:
    """Return an array that broadcasts to `rank` axes as one that broadcasts to packed rows."""
    if value.dim() == 0:  # With axes it would count for the type of the result.
        return value
    wide = value.reshape([1] * (rank - value.dim()) + list(value.shape))
    sample = layout.sample_tensor.to(value.device)
    channel = layout.channel_tensor.clamp(max=layout.channels - 1).to(value.device)
    if wide.shape[0] == 1 and wide.shape[1] == 1:
        return wide
    if wide.shape[1] == 1:
        return wide.index_select(0, sample).transpose(0, 1)
    if wide.shape[0] == 1:
        return wide.index_select(1, channel)
    flat = wide.reshape(1, -1, *wide.shape[2:])
    return flat.index_select(1, sample * wide.shape[1] + channel)
