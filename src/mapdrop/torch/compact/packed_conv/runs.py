"""Convolve packed arrays run by run, with PyTorch's own convolutions.

For each run of samples with the same maps, the kept input maps meet the part of the weight that
reads them and makes the output maps that are read later. Only the packed input is saved for
backward (and the output, if a ReLU was done in the same pass).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mapdrop.torch.compact.packed_conv.operation import PackedConv
from mapdrop.torch.compact.packed_conv.weights import gather, scatter_add
from mapdrop.torch.compact.packing.layout import Layout, Run, aligned_runs, dense_layout
from mapdrop.torch.graph.settings import Convolution, Gradients, Linear


def convolve_by_runs(x: Tensor, weight: Tensor, bias: Tensor | None, conv: PackedConv) -> Tensor:
    """Return the output of a `PackedConv` between layouts (see `convolve`)."""
    out: Tensor = _ByRuns.apply(x, weight, bias, conv)
    return out


class _Runs:
    """The stretches of samples that lie in one run of both input and output."""

    def __init__(self, x: Tensor, weight: Tensor, conv: PackedConv) -> None:
        settings, samples = conv.settings, conv.samples
        outputs, inputs = settings.weight_order(*weight.shape[:2])
        source: Any = conv.source or dense_layout(samples, inputs)
        target: Any = conv.target or dense_layout(samples, outputs)
        self.stretches = aligned_runs([source, target])
        space = settings.out_space(tuple(x.shape[2:]), tuple(weight.shape[2:]))
        rows = (samples, outputs) if conv.target is None else (1, conv.target.rows)
        self.out_shape = (*rows, *space)


def _view(array: Tensor, layout: Layout | None, run: Run, low: int, high: int) -> Tensor:
    """Return samples low to high - 1 of a dense or packed array."""
    return array[low:high] if layout is None else run.view(array, low, high)


def _index(layout: Layout | None, run: Run) -> Tensor | None:
    """Return the run's channels; None for all."""
    return None if layout is None else run.index


class _ByRuns(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, conv: Any) -> Tensor:
        x = x if conv.source is None else x.contiguous()
        plain = weight.contiguous()  # In channels-last order, gathering its parts would be slow.
        runs = _Runs(x, weight, conv)
        out = x.new_empty(runs.out_shape)
        for low, high, (into, onto) in runs.stretches:
            some_out = _view(out, conv.target, onto, low, high)
            if some_out.numel() == 0:
                continue
            rows, columns = _index(conv.target, onto), _index(conv.source, into)
            first, second = conv.settings.weight_order(rows, columns)
            some_weight = gather(plain, first, second, conv.gain)
            some_bias = bias if bias is None or rows is None else gather(bias, rows)
            some_x = _view(x, conv.source, into, low, high)
            y = _forward(conv.settings, some_x, some_weight, some_bias, some_out)
            if conv.relu:
                torch.clamp_min(y, 0, out=some_out)
            else:
                some_out.copy_(y)
        ctx.conv, ctx.runs = conv, runs
        ctx.save_for_backward(x, weight, bias, out if conv.relu else None)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        conv, runs = ctx.conv, ctx.runs
        x, weight, bias, out = ctx.saved_tensors
        needed = ctx.needs_input_grad[:3]
        grad = grad if conv.target is None else grad.contiguous()
        grad_x = torch.zeros_like(x) if needed[0] else None
        plain = weight.contiguous()
        grad_weight = torch.zeros_like(plain) if needed[1] else None
        grad_bias = torch.zeros_like(bias) if needed[2] else None
        for low, high, (into, onto) in runs.stretches:
            some_grad = _view(grad, conv.target, onto, low, high)
            some_x = _view(x, conv.source, into, low, high)
            if some_grad.numel() == 0:
                continue
            if out is not None:
                some_out = _view(out, conv.target, onto, low, high)
                some_grad = torch.ops.aten.threshold_backward(some_grad, some_out, 0)
            rows, columns = _index(conv.target, onto), _index(conv.source, into)
            first, second = conv.settings.weight_order(rows, columns)
            some_weight = gather(plain, first, second, conv.gain)
            grads = _backward(conv.settings, some_grad, some_x, some_weight, needed)
            if grad_x is not None and grads[0] is not None:
                _view(grad_x, conv.source, into, low, high).copy_(grads[0])
            if grad_weight is not None and grads[1] is not None:
                scatter_add(grad_weight, grads[1], first, second)
            if grad_bias is not None and grads[2] is not None:
                scatter_add(grad_bias, grads[2], rows)
        if grad_weight is not None and conv.gain != 1:
            grad_weight *= conv.gain
        return grad_x, grad_weight, grad_bias, None


def _forward(
    settings: Convolution | Linear, x: Tensor, weight: Tensor, bias: Tensor | None, like: Tensor
) -> Tensor:
    if x.shape[1] == 0:  # No input map is left: the output is the bias.
        shift = like.new_zeros(like.shape[1]) if bias is None else bias
        return shift.view(1, -1, *[1] * (like.dim() - 2)).expand_as(like)
    return settings.forward(x, weight, bias)


def _backward(
    settings: Convolution | Linear,
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    needed: tuple[bool, bool, bool],
) -> Gradients:
    if x.shape[1] == 0:
        return None, None, grad.transpose(0, 1).flatten(1).sum(1) if needed[2] else None
    return settings.backward(grad, x, weight, needed)
