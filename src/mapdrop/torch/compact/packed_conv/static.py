"""Convolve packed arrays with static shapes, by PyTorch's differentiable operations."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mapdrop.torch.compact.packed_conv.operation import PackedConv
from mapdrop.torch.compact.packed_conv.weights import gather_by_torch
from mapdrop.torch.compact.packing.layout import aligned_runs, dense_layout


def convolve_static(x: Tensor, weight: Tensor, bias: Tensor | None, conv: PackedConv) -> Tensor:
    """Return the output of a `PackedConv` between static layouts (see `convolve`)."""
    settings = conv.settings
    outputs, inputs = settings.weight_order(*weight.shape[:2])
    source: Any = conv.source or dense_layout(conv.samples, inputs)
    target: Any = conv.target or dense_layout(conv.samples, outputs)
    pieces = []
    for low, high, (into, onto) in aligned_runs([source, target]):
        rows = None if conv.target is None else onto.index
        columns = None if conv.source is None else into.index
        first, second = settings.weight_order(rows, columns)
        some_weight = gather_by_torch(weight, first, second, conv.gain)
        some_bias = None if bias is None else gather_by_torch(bias, rows, None, 1.0)
        some_x = x[low:high] if conv.source is None else into.view(x, low, high)
        y = settings.forward(some_x, some_weight, some_bias)
        pieces.append(y if conv.target is None else y.flatten(0, 1).unsqueeze(0))
    out = pieces[0] if len(pieces) == 1 else torch.cat(pieces, 0 if conv.target is None else 1)
    return torch.relu(out) if conv.relu else out
