"""Convolutions of packed maps by mapdrop's own CPU kernels: no mask costs more than another.

The kernels take each sample's maps where they lie and the weight as it is. What they cannot do
(strides, other devices, 16-bit floats) is done by run, with PyTorch's convolutions.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mapdrop import kernels
from mapdrop.torch.compact.packing.layout import Layout, whole

if TYPE_CHECKING:
    from mapdrop.torch.compact.packed_conv.runs import Job

_DTYPES = (torch.float32, torch.float64)
_FARTHEST = 2**31  # Distances in a weight and in copies of maps, in bytes, are kept in 32 bits.


def fits(settings: Any, x: Tensor, weight: Tensor) -> bool:
    """Whether the kernels can do a `Convolution` (or `Dense`) of such tensors."""
    return (
        getattr(settings, "stride", None) == (1,) * (weight.dim() - 2)
        and not settings.transposed
        and weight.dim() <= 5
        and x.device.type == weight.device.type == "cpu"
        and x.dtype == weight.dtype
        and x.dtype in _DTYPES
        and weight.numel() * weight.element_size() < _FARTHEST
        and kernels.for_convolution() is not None
        and _copied(settings, x, weight) < _FARTHEST
    )


def _copied(settings: Any, x: Tensor, weight: Tensor) -> int:
    """Bytes of the copies of maps that are made at a time, at most."""
    kernel = weight.shape[2:]
    reach = (n + 2 * d * k for n, d, k in zip(x.shape[2:], settings.dilation, kernel, strict=True))
    fast: Any = kernels.for_convolution()
    together = max(1, fast.DEPTH // kernel.numel())
    return int(prod(reach) * kernel[1:].numel() * together * x.element_size())


def mix_directly(x: Tensor, weight: Tensor, bias: Tensor | None, job: Job) -> Tensor:
    """See `mix`."""
    mixed: Tensor = _Direct.apply(x, weight, bias, job)  # type: ignore[no-untyped-call]
    return mixed


class _Direct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, job: Job) -> Tensor:
        work = _Work(x, weight, job)
        out = work.forward(x, weight, bias)
        ctx.work = work
        ctx.save_for_backward(x, weight, out if job.relu else None)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        work: _Work = ctx.work
        x, weight, out = ctx.saved_tensors
        if out is not None:
            grad = torch.ops.aten.threshold_backward(grad, out, 0)
        wanted = ctx.needs_input_grad
        return (
            work.grad_x(grad, weight) if wanted[0] else None,
            work.grad_weight(grad, x) if wanted[1] else None,
            work.grad_bias(grad) if wanted[2] else None,
            None,
        )


class _Work:
    """One convolution: where its maps lie, and what its kernel sees of them."""

    def __init__(self, x: Tensor, weight: Tensor, job: Job) -> None:
        known = job.source or job.target
        assert known is not None
        outputs, inputs = weight.shape[:2]
        self.job, self.weight_shape = job, tuple(weight.shape)
        self.source = job.source or whole(known.samples, inputs)
        self.target = job.target or whole(known.samples, outputs)
        space = job.settings.size(tuple(x.shape[2:]), tuple(weight.shape[2:]))
        self.x_shape = tuple(x.shape)
        rows = (1, self.target.rows) if job.target else (known.samples, outputs)
        self.shape = (*rows, *space)
        self.window = _window(job.settings, tuple(x.shape[2:]), space, tuple(weight.shape[2:]))

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The output."""
        out = x.new_empty(self.shape)
        shift = x.new_empty(0) if bias is None else bias.detach()
        self._product(
            out, self.target, x, self.source, weight, self.window, shift, self.job.relu, False
        )
        return out

    def grad_x(self, grad: Tensor, weight: Tensor) -> Tensor:
        """The gradient of the input."""
        out = grad.new_empty(self.x_shape)
        none = grad.new_empty(0)
        self._product(
            out, self.source, grad, self.target, weight, self.window.back, none, False, True
        )
        return out

    def _product(
        self,
        out: Tensor,
        made: Layout,
        x: Tensor,
        read: Layout,
        weight: Tensor,
        window: Any,
        bias: Tensor,
        relu: bool,
        transposed: bool,
    ) -> None:
        fast: Any = kernels.for_convolution()
        fast.product(
            _pixels(out),
            _maps(made),
            _volumes(x, window.size),
            _maps(read),
            weight.detach().contiguous().numpy(),
            bias.numpy(),
            window,
            self.job.gain,
            relu,
            transposed,
            torch.get_num_threads(),
        )

    def grad_weight(self, grad: Tensor, x: Tensor) -> Tensor:
        """The gradient of the weight."""
        fast: Any = kernels.for_convolution()
        found = grad.new_empty(self.weight_shape)
        fast.gradient(
            found.view(*self.weight_shape[:2], -1).numpy(),
            _pixels(grad.contiguous()),
            _maps(self.target),
            _volumes(x, self.window.size),
            _maps(self.source),
            self.window,
            self.job.gain,
            torch.get_num_threads(),
            lambda shape: grad.new_empty(shape).numpy(),
        )
        return found

    def grad_bias(self, grad: Tensor) -> Tensor:
        """The gradient of the bias."""
        sums = grad.flatten(2).sum(2).flatten()
        channel = torch.from_numpy(self.target.channel)
        found = sums.new_zeros(self.target.channels + 1).index_add_(0, channel, sums)
        return found[:-1]


def _pixels(array: Tensor) -> Any:
    """(rows, values of a map), the same memory."""
    space = array.shape[2:].numel()
    return array.detach().view(array.shape[0] * array.shape[1], space).numpy()


def _volumes(array: Tensor, size: tuple[int, int, int]) -> Any:
    """(rows, three axes)."""
    return array.detach().contiguous().view(array.shape[0] * array.shape[1], *size).numpy()


def _maps(layout: Layout) -> Any:
    fast: Any = kernels.for_convolution()
    return fast.Maps(layout.first, layout.channel)


def _window(
    settings: Any, size: tuple[int, ...], out: tuple[int, ...], kernel: tuple[int, ...]
) -> Any:
    fast: Any = kernels.for_convolution()

    def three(sizes: tuple[int, ...], missing: int) -> tuple[int, ...]:
        """The first axis stays first: along it the kernels need no copies."""
        return (sizes[0], *[missing] * (3 - len(sizes)), *sizes[1:])

    return fast.Window(
        three(size, 1),
        three(out, 1),
        three(kernel, 1),
        three(settings.padding, 0),
        three(settings.dilation, 1),
    )
