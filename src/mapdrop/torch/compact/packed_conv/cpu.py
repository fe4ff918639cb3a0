"""Convolve packed arrays with mapdrop's own CPU kernels, in which any mask costs the same.

The kernels read each sample's maps where they lie, and the weight as it is. What they do not
support (strides, other devices, 16-bit floats) is done run by run, with PyTorch's convolutions.
"""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mapdrop import kernels
from mapdrop.torch.compact.packed_conv.operation import PackedConv
from mapdrop.torch.compact.packing.layout import Layout, dense_layout
from mapdrop.torch.graph.settings import Convolution, Linear

_DTYPES = (torch.float32, torch.float64)
_LIMIT = 2**31  # Distances in a weight and in copies of maps, in bytes, are stored in 32 bits.


def supports(settings: Convolution | Linear, x: Tensor, weight: Tensor) -> bool:
    """Return whether the kernels can do an operation of such tensors."""
    return (
        isinstance(settings, Convolution)
        and settings.stride == (1,) * (weight.dim() - 2)
        and not settings.transposed
        and weight.dim() <= 5
        and x.device.type == weight.device.type == "cpu"
        and x.dtype == weight.dtype
        and x.dtype in _DTYPES
        and weight.numel() * weight.element_size() < _LIMIT
        and kernels.for_convolution() is not None
        and _copied_bytes(settings, x, weight) < _LIMIT
    )


def _copied_bytes(settings: Convolution, x: Tensor, weight: Tensor) -> int:
    """Return how many bytes of copies of maps are held at a time, at most."""
    kernel = weight.shape[2:]
    reach = [2 * d * k for d, k in zip(settings.dilation, kernel, strict=True)]
    plane = prod(n + more for n, more in zip(x.shape[3:], reach[1:], strict=True))
    maps = max(1, _kernels().DEPTH // kernel.numel())
    one = maps * kernel[1:].numel() * plane * x.element_size()  # Of one plane of each map.
    return int(max(_kernels().COPIES, one * (1 + reach[0])))


def _kernels() -> Any:
    return kernels.for_convolution()


def convolve_on_cpu(x: Tensor, weight: Tensor, bias: Tensor | None, conv: PackedConv) -> Tensor:
    """Return the output of a `PackedConv` that the kernels support (see `convolve`)."""
    out: Tensor = _OnCpu.apply(x, weight, bias, conv)
    return out


class _OnCpu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, conv: Any) -> Tensor:
        call = _Call(x, weight, conv)
        out = call.forward(x, weight, bias)
        ctx.call = call
        ctx.save_for_backward(x, weight, out if conv.relu else None)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        call: _Call = ctx.call
        x, weight, out = ctx.saved_tensors
        if out is not None:
            grad = torch.ops.aten.threshold_backward(grad, out, 0)
        needed = ctx.needs_input_grad
        return (
            call.grad_x(grad, weight) if needed[0] else None,
            call.grad_weight(grad, x) if needed[1] else None,
            call.grad_bias(grad) if needed[2] else None,
            None,
        )


class _Call:
    """One convolution: its layouts, and its geometry as the kernels take it."""

    def __init__(self, x: Tensor, weight: Tensor, conv: PackedConv) -> None:
        outputs, inputs = weight.shape[:2]
        self.conv, self.weight_shape = conv, tuple(weight.shape)
        self.source: Any = conv.source or dense_layout(conv.samples, inputs)
        self.target: Any = conv.target or dense_layout(conv.samples, outputs)
        in_space, kernel = tuple(x.shape[2:]), tuple(weight.shape[2:])
        out_space = conv.settings.out_space(in_space, kernel)
        self.x_shape = tuple(x.shape)
        rows = (1, self.target.rows) if conv.target else (conv.samples, outputs)
        self.out_shape = (*rows, *out_space)
        self.geometry = _geometry(conv.settings, in_space, out_space, kernel)

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return the output."""
        out = x.new_empty(self.out_shape)
        shift = x.new_empty(0) if bias is None else bias.detach()
        _kernels().convolve(
            _pixels(out),
            _row_index(self.target),
            _volumes(x, self.geometry.size),
            _row_index(self.source),
            _array(weight),
            shift.numpy(),
            self.geometry,
            self.conv.gain,
            self.conv.relu,
            False,
            torch.get_num_threads(),
        )
        return out

    def grad_x(self, grad: Tensor, weight: Tensor) -> Tensor:
        """Return the gradient of the input."""
        out = grad.new_empty(self.x_shape)
        geometry = self.geometry.of_input_gradient
        _kernels().convolve(
            _pixels(out),
            _row_index(self.source),
            _volumes(grad, geometry.size),
            _row_index(self.target),
            _array(weight.transpose(0, 1)),  # What a map of the input needs lies together.
            grad.new_empty(0).numpy(),
            geometry,
            self.conv.gain,
            False,
            True,
            torch.get_num_threads(),
        )
        return out

    def grad_weight(self, grad: Tensor, x: Tensor) -> Tensor:
        """Return the gradient of the weight."""
        out = grad.new_empty(self.weight_shape)
        _kernels().weight_grad(
            out.view(*self.weight_shape[:2], -1).numpy(),
            _pixels(grad.contiguous()),
            _row_index(self.target),
            _volumes(x, self.geometry.size),
            _row_index(self.source),
            self.geometry,
            self.conv.gain,
            torch.get_num_threads(),
            lambda shape: grad.new_empty(shape).numpy(),
        )
        return out

    def grad_bias(self, grad: Tensor) -> Tensor:
        """Return the gradient of the bias."""
        sums = grad.flatten(2).sum(2).flatten()
        out = sums.new_zeros(self.target.channels + 1)  # The last is for zero maps.
        return out.index_add_(0, self.target.channel_tensor, sums)[:-1]


def _array(weight: Tensor) -> Any:
    return weight.detach().contiguous().numpy()


def _pixels(array: Tensor) -> Any:
    """Return the same memory as (rows, values of a map)."""
    space = array.shape[2:].numel()
    return array.detach().view(array.shape[0] * array.shape[1], space).numpy()


def _volumes(array: Tensor, size: tuple[int, int, int]) -> Any:
    """Return the array as (rows, *three axes)."""
    return array.detach().contiguous().view(array.shape[0] * array.shape[1], *size).numpy()


def _row_index(layout: Layout) -> Any:
    return _kernels().RowIndex(layout.sample_starts, layout.row_channels)


def _geometry(
    settings: Any, size: tuple[int, ...], out: tuple[int, ...], kernel: tuple[int, ...]
) -> Any:
    def three(sizes: tuple[int, ...], missing: int) -> tuple[int, ...]:
        """Insert axes after the first, along which the kernels need no copies."""
        return (sizes[0], *[missing] * (3 - len(sizes)), *sizes[1:])

    return _kernels().Geometry(
        three(size, 1),
        three(out, 1),
        three(kernel, 1),
        three(settings.padding, 0),
        three(settings.dilation, 1),
    )
