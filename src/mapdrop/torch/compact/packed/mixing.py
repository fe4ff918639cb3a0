"""Operations that mix maps: convolutions and Linear layers."""

from __future__ import annotations

import torch
from torch import Tensor

from mapdrop.torch.compact.packed.packed import Packed
from mapdrop.torch.compact.packed_conv.convolve import convolve
from mapdrop.torch.compact.packed_conv.operation import PackedConv
from mapdrop.torch.compact.packing.storage import DENSE, StepState, Storage
from mapdrop.torch.graph.facts import ChannelMixing
from mapdrop.torch.graph.graph import Node
from mapdrop.torch.graph.program import Env
from mapdrop.torch.graph.settings import Linear


class PackedMixing(Packed[ChannelMixing]):
    """A convolution or Linear.

    Args:
        node, facts: the operation.
        input_storage: how its input is stored. The factor goes into the weight.
        relu: whether a ReLU follows in the same pass.
    """

    input_storage: Storage
    relu: bool

    def __init__(
        self,
        node: Node,
        facts: ChannelMixing,
        input_storage: Storage = DENSE,
        relu: bool = False,
    ) -> None:
        super().__init__(node, facts)
        self.input_storage, self.relu = input_storage, relu

    def input_storages(self, storage: Storage) -> list[Storage]:
        return [self.input_storage]

    def run(self, values: list[Tensor], env: Env, state: StepState, storage: Storage) -> Tensor:
        """Return the output, packed or dense."""
        facts, (x,) = self.facts, values
        weight = env[facts.weight]
        bias = env[facts.bias] if isinstance(facts.bias, Node) else None
        if facts.pad is not None:
            x = torch.nn.functional.pad(x, facts.pad)
        linear = isinstance(facts.settings, Linear)
        if linear:
            (features,) = facts.kernel
            weight = weight.view(weight.shape[0], -1, features)
            x = x if self.input_storage.packed else x.view(x.shape[0], -1, features)
        conv = PackedConv(
            facts.settings,
            state.layout(self.input_storage.maps),
            state.layout(storage.maps),
            self.input_storage.gain,
            self.relu,
        )
        y = convolve(x, weight, bias, conv)
        return y.unsqueeze(2) if linear and storage.packed else y
