"""Operations that treat every map by itself: activations, pools, padding, norms of one map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.fx import Node

from mapdrop.torch.compact.lattice import AllMaps, MapSet, any_sample
from mapdrop.torch.compact.node import Env
from mapdrop.torch.compact.ops.op import Op
from mapdrop.torch.compact.storage import StepState, Storage

Call = Callable[[Sequence[Tensor], Env], Any]
Parameters = Callable[[Env], list[Tensor | None]]


class PerMap(Op):
    """The same function of every map. It runs on the packed array unchanged.

    Args:
        source: the node it reads.
        call: the operation itself.
        keeps_zeros: whether a map of zeros becomes a map of zeros.
        homogeneous: see `Op`.
    """

    def __init__(
        self, source: Node, call: Call, keeps_zeros: bool, homogeneous: bool = False
    ) -> None:
        self.sources = (source,)
        self.call, self.keeps_zeros, self.homogeneous = call, keeps_zeros, homogeneous

    def nonzero(self, inputs: list[MapSet]) -> MapSet:
        return inputs[0] if self.keeps_zeros else AllMaps(inputs[0].channels)

    def live(self, output: MapSet) -> list[MapSet]:
        return [output]

    def run(self, values: list[Tensor], env: Env, state: StepState, storage: Storage) -> Tensor:
        result: Tensor = self.call(values, env)
        return result


class PerMapWithParameters(PerMap):
    """A function with parameters of each map: PReLU, BatchNorm in eval mode, depthwise convolution.

    Args:
        source: the node it reads.
        function: takes an array and the parameters of its maps.
        parameters: returns the parameters of all maps.
        keeps_zeros: whether a map of zeros becomes a map of zeros.
    """

    def __init__(
        self,
        source: Node,
        function: Callable[[Tensor, list[Tensor | None]], Tensor],
        parameters: Parameters,
        keeps_zeros: bool,
    ) -> None:
        super().__init__(source, lambda values, env: values[0], keeps_zeros)
        self.function, self.parameters = function, parameters

    def run(self, values: list[Tensor], env: Env, state: StepState, storage: Storage) -> Tensor:
        layout = state.layout(storage.maps)
        assert layout is not None
        index = layout.channel_tensor.to(values[0].device)
        return self.function(values[0], _gather(self.parameters(env), index))


def _gather(parameters: list[Tensor | None], index: Tensor) -> list[Tensor | None]:
    """Return the entries at `index`, and 0 for a zero map. One entry alone is for every map."""

    def gather(parameter: Tensor) -> Tensor:
        if parameter.shape[0] == 1:
            return parameter.expand(len(index), *parameter.shape[1:])
        zero = parameter.new_zeros((1, *parameter.shape[1:]))
        return torch.cat([parameter, zero]).index_select(0, index)

    return [None if parameter is None else gather(parameter) for parameter in parameters]


class BatchNormSettings(Protocol):
    """What `BatchNormTraining` reads of a layer, or of a call's arguments."""

    momentum: float
    eps: float
    num_batches_tracked: Tensor | None


class BatchNormTraining(PerMapWithParameters):
    """BatchNorm by the statistics of the batch: all samples of a map are needed, or none.

    A map that no sample needs is not normalised, and its running statistics stay as they are.
    """

    reason = "BatchNorm in training reads every sample of a map: share one mask in the batch"

    def __init__(
        self, source: Node, parameters: Parameters, settings: BatchNormSettings, samples: int
    ) -> None:
        super().__init__(source, lambda x, chosen: x, parameters, keeps_zeros=False)
        self.settings, self.samples = settings, samples

    def live(self, output: MapSet) -> list[MapSet]:
        return [any_sample(output)]

    def input_storages(self, storage: Storage) -> list[Storage]:
        assert storage.maps is not None
        return [Storage(any_sample(storage.maps))]

    def run(self, values: list[Tensor], env: Env, state: StepState, storage: Storage) -> Tensor:
        assert storage.maps is not None
        maps = any_sample(storage.maps)
        layout = state.layout(maps)
        assert layout is not None
        index = layout.runs[0].index.to(values[0].device)
        x = values[0].view(self.samples, len(index), *values[0].shape[2:])
        dense = self.parameters(env)
        packed = _gather(dense, index)
        mean, variance, weight, bias = packed
        settings = self.settings
        y = torch.nn.functional.batch_norm(
            x, mean, variance, weight, bias, True, settings.momentum, settings.eps
        )
        if settings.num_batches_tracked is not None:
            settings.num_batches_tracked.add_(1)
        for every, some in zip(dense[:2], packed[:2], strict=True):
            if every is not None and some is not None:  # Those of zero maps are cut off.
                extended = torch.cat([every, every.new_zeros(1)]).index_copy(0, index, some)
                every.copy_(extended[:-1])
        packed_y = y.view(values[0].shape)
        return state.convert(packed_y, Storage(maps), Storage(storage.maps))
