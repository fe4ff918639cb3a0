"""Convolve packed arrays: by mapdrop's kernels, by PyTorch's run by run, or with static shapes."""

from __future__ import annotations

import torch
from torch import Tensor

from mapdrop.torch.compact.packed_conv.cpu import convolve_on_cpu, supports
from mapdrop.torch.compact.packed_conv.operation import PackedConv
from mapdrop.torch.compact.packed_conv.runs import convolve_by_runs
from mapdrop.torch.compact.packed_conv.static import convolve_static
from mapdrop.torch.compact.packing.static import StaticLayout


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, conv: PackedConv) -> Tensor:
    """Return the operation's output. The gradient of a weight that is not used is exactly 0.

    Args:
        x: dense, (samples, channels, *space), or packed in `conv.source`.
        weight: of the dense operation.
        bias: (out,) or None.
        conv: what to do.
    """
    device = x.device.type
    if torch.is_autocast_enabled(device) and x.dtype != torch.float64:
        dtype = torch.get_autocast_dtype(device)
        x, weight = x.to(dtype), weight.to(dtype)
        bias = None if bias is None else bias.to(dtype)
        with torch.autocast(device, enabled=False):
            return _convolve(x, weight, bias, conv)
    return _convolve(x, weight, bias, conv)


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, conv: PackedConv) -> Tensor:
    if isinstance(conv.source or conv.target, StaticLayout):
        return convolve_static(x, weight, bias, conv)
    if supports(conv.settings, x, weight):
        return convolve_on_cpu(x, weight, bias, conv)
    return convolve_by_runs(x, weight, bias, conv)
