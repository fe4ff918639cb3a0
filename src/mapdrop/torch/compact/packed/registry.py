"""The registry: how each kind of facts works on packed arrays."""

from __future__ import annotations

from typing import Any

from mapdrop.torch.compact.packed.channels import PackedConcatenate, PackedFlatten, PackedSlice
from mapdrop.torch.compact.packed.drop import PackedDrop
from mapdrop.torch.compact.packed.elementwise import PackedElementwise
from mapdrop.torch.compact.packed.mixing import PackedMixing
from mapdrop.torch.compact.packed.packed import Packed
from mapdrop.torch.compact.packed.per_map import (
    PackedBatchNorm,
    PackedDepthwise,
    PackedIdentity,
    PackedPerMap,
    PackedWithParameters,
)
from mapdrop.torch.graph import facts as kinds
from mapdrop.torch.graph.facts import Facts
from mapdrop.torch.graph.graph import Node

PACKED: dict[type[Facts], type[Packed[Any]]] = {
    kinds.PerMap: PackedPerMap,
    kinds.PerMapWithParameters: PackedWithParameters,
    kinds.DepthwiseConvolution: PackedDepthwise,
    kinds.BatchNormTraining: PackedBatchNorm,
    kinds.Identity: PackedIdentity,
    kinds.Flatten: PackedFlatten,
    kinds.Elementwise: PackedElementwise,
    kinds.Concatenate: PackedConcatenate,
    kinds.Slice: PackedSlice,
    kinds.ChannelMixing: PackedMixing,
    kinds.DropFacts: PackedDrop,
}


def packed(node: Node, facts: Facts) -> Packed[Any]:
    """Return how a node works on packed arrays."""
    return PACKED[type(facts)](node, facts)
