"""Operations of several arrays, value by value: add, multiply, maximum."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

from torch import Tensor
from torch.fx import Node

from mapdrop.torch.compact.lattice import AllMaps, MapSet
from mapdrop.torch.compact.node import Env
from mapdrop.torch.compact.ops.op import Op
from mapdrop.torch.compact.ops.per_map import Call
from mapdrop.torch.compact.packing.layout import Layout
from mapdrop.torch.compact.packing.static import StaticLayout
from mapdrop.torch.compact.storage import StepState, Storage


class Elementwise(Op):
    """Arrays of the output's shape, or that broadcast to it.

    Args:
        sources: the nodes it reads.
        shapes: of their results.
        out_shape: of its own.
        call: the operation itself.
        combine: returns what may be non-zero of a result of two inputs.
        homogeneous: see `Op`. An input that is broadcast is stored dense, so that its factor is
            applied at once; then the others' cannot be applied later.
    """

    def __init__(
        self,
        sources: list[Node],
        shapes: list[tuple[int, ...]],
        out_shape: tuple[int, ...],
        call: Call,
        combine: Callable[[MapSet, MapSet], MapSet],
        homogeneous: bool,
    ) -> None:
        self.sources, self.shapes, self.out_shape = tuple(sources), shapes, out_shape
        self.call, self.combine = call, combine
        self.full = [s[:2] == out_shape[:2] and len(s) == len(out_shape) for s in shapes]
        self.homogeneous = homogeneous and all(self.full)

    def nonzero(self, inputs: list[MapSet]) -> MapSet:
        dense = AllMaps(self.out_shape[1])
        maps = [m if full else dense for m, full in zip(inputs, self.full, strict=True)]
        return reduce(self.combine, maps)

    def live(self, output: MapSet) -> list[MapSet]:
        return [
            output if full else AllMaps(shape[1] if len(shape) > 1 else 1)
            for shape, full in zip(self.shapes, self.full, strict=True)
        ]

    def input_storages(self, storage: Storage) -> list[Storage]:
        return [storage if full else Storage() for full in self.full]

    def run(self, values: list[Tensor], env: Env, state: StepState, storage: Storage) -> Tensor:
        layout = state.layout(storage.maps)
        assert layout is not None
        operands = [
            value if full else _broadcast(value, len(self.out_shape), layout)
            for value, full in zip(values, self.full, strict=True)
        ]
        result: Tensor = self.call(operands, env)
        return result


def _broadcast(value: Tensor, rank: int, layout: Layout | StaticLayout) -> Tensor:
    """Return an array that broadcasts to `rank` axes as one that broadcasts to packed rows."""
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
