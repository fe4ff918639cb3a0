"""Operations that treat every map by itself: activations, pools, padding, norms of one map."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from mapdrop.torch.compact.packed.packed import Packed
from mapdrop.torch.compact.packing.storage import StepState, Storage
from mapdrop.torch.graph.facts import BatchNormTraining, Facts, PerMap, PerMapWithParameters
from mapdrop.torch.graph.graph import Node, caller, substituted
from mapdrop.torch.graph.program import Env


class PackedPerMap(Packed[PerMap]):
    """The same function of every map. It runs on the packed array unchanged."""

    def __init__(self, node: Node, facts: PerMap) -> None:
        super().__init__(node, facts)
        self.call: Callable[[Mapping[Node, Any]], Any] = caller(node)

    def run(self, values: list[Tensor], env: Env, state: StepState, storage: Storage) -> Tensor:
        result: Tensor = self.call({self.facts.sources[0]: values[0]})
        return result


class PackedIdentity(Packed[Facts]):
    """What changes no value: a drop, whose dropped maps a packed array does not have."""

    copies = False

    def run(self, values: list[Tensor], env: Env, state: StepState, storage: Storage) -> Tensor:
        return values[0]


class PackedWithParameters(Packed[PerMapWithParameters]):
    """A function with parameters of each map: PReLU, BatchNorm in eval mode, depthwise convolution.

    It is called with the parameters of the packed maps.
    """

    def __init__(self, node: Node, facts: PerMapWithParameters) -> None:
        super().__init__(node, facts)
        self.nodes: list[Node] = [p for p in facts.parameters if isinstance(p, Node)]
        self.call: Callable[[Mapping[Node, Any]], Any] = caller(node)

    def run(self, values: list[Tensor], env: Env, state: StepState, storage: Storage) -> Tensor:
        index = state.layout(storage.maps).channel_tensor.to(values[0].device)
        return self._called(values[0], _gather([env[node] for node in self.nodes], index))

    def _called(self, x: Tensor, parameters: list[Tensor]) -> Tensor:
        given = dict(zip(self.nodes, parameters, strict=True))
        result: Tensor = self.call({self.facts.sources[0]: x, **given})
        return result


class PackedDepthwise(PackedWithParameters):
    """A depthwise convolution: it has as many groups as there are packed maps."""

    def __init__(self, node: Node, facts: PerMapWithParameters) -> None:
        super().__init__(node, facts)
        names = ("input", "weight", "bias", "stride", "padding", "dilation")
        self.named: dict[str, Any] = dict(zip(names, node.args, strict=False)) | dict(
            node.kwargs or {}
        )

    def _called(self, x: Tensor, parameters: list[Tensor]) -> Tensor:
        given = dict(zip(self.nodes, parameters, strict=True)) | {self.facts.sources[0]: x}
        call: Any = self.node.target
        result: Tensor = call(**substituted(self.named, given.__getitem__) | {"groups": x.shape[1]})
        return result


def _gather(parameters: list[Tensor], index: Tensor) -> list[Tensor]:
    """Return the entries at `index`, and 0 for a zero map. One entry alone is for every map."""

    def gather(parameter: Tensor) -> Tensor:
        if parameter.shape[0] == 1:
            return parameter.expand(len(index), *parameter.shape[1:])
        zero = parameter.new_zeros((1, *parameter.shape[1:]))
        return torch.cat([parameter, zero]).index_select(0, index)

    return [gather(parameter) for parameter in parameters]


class PackedBatchNorm(PackedWithParameters):
    """BatchNorm by the statistics of the batch.

    A map that no sample needs is not normalised, and its running statistics stay as they are.
    """

    reason = "BatchNorm in training reads every sample of a map: share one mask in the batch"
    facts: BatchNormTraining

    def input_storages(self, storage: Storage) -> list[Storage]:
        return [Storage(self._maps(storage))]

    def _maps(self, storage: Storage) -> Any:
        assert storage.maps is not None
        return self.facts.live(storage.maps)[0]

    def run(self, values: list[Tensor], env: Env, state: StepState, storage: Storage) -> Tensor:
        maps = self._maps(storage)
        index = state.layout(maps).runs[0].index.to(values[0].device)
        x = values[0].view(state.samples, len(index), *values[0].shape[2:])
        dense = [env[node] for node in self.nodes]
        packed = _gather(dense, index)
        y = self._called(x, packed)
        running = self.facts.parameters[:2]
        for node, every, some in zip(self.nodes, dense, packed, strict=True):
            if node in running:  # The statistics of zero maps are cut off.
                extended = torch.cat([every, every.new_zeros(1)]).index_copy(0, index, some)
                every.copy_(extended[:-1])
        return state.convert(y.view(values[0].shape), Storage(maps), Storage(storage.maps))
