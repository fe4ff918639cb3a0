"""Operations that mix maps (convolutions, Linear), of the maps that matter only.

For each run of samples with the same maps, the kept input maps meet the part of the weight that
reads them and makes the output maps somebody will read. Nothing is kept of a run for backward but
the packed input (and the output, where a ReLU was done in the same pass).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mapdrop.torch.compact.packed_conv.cpu import fits, mix_directly
from mapdrop.torch.compact.packed_conv.weights import add_chosen, choose
from mapdrop.torch.compact.packing.layout import Layout, Run, aligned, whole
from mapdrop.torch.compact.packing.static import EqualLayout, mix_equally

aten = torch.ops.aten


@dataclass(frozen=True)
class Convolution:
    """A convolution's settings, as `aten::convolution` takes them. Weight: (out, in, *kernel)."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    output_padding: tuple[int, ...]
    transposed: bool = False

    def order(self, out: Any, into: Any) -> tuple[Any, Any]:
        """What belongs to output and input maps, in the order of the weight's axes."""
        return (into, out) if self.transposed else (out, into)

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Of some maps."""
        y: Tensor = torch.convolution(
            x,
            weight,
            bias,
            self.stride,
            self.padding,
            self.dilation,
            self.transposed,
            self.output_padding,
            1,
        )
        return y

    def backward(
        self, grad: Tensor, x: Tensor, weight: Tensor, wanted: tuple[bool, bool, bool]
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Gradients of input, weight and bias, where wanted."""
        found: tuple[Tensor | None, ...] = aten.convolution_backward(
            grad,
            x,
            weight,
            [grad.shape[1]],
            self.stride,
            self.padding,
            self.dilation,
            self.transposed,
            self.output_padding,
            1,
            wanted,
        )
        return found[0], found[1], found[2]

    def size(self, space: tuple[int, ...], kernel: tuple[int, ...]) -> tuple[int, ...]:
        """Of an output map."""
        settings = zip(
            space,
            kernel,
            self.stride,
            self.padding,
            self.dilation,
            self.output_padding,
            strict=True,
        )
        if self.transposed:
            return tuple((n - 1) * s - 2 * p + d * (k - 1) + o + 1 for n, k, s, p, d, o in settings)
        return tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d, _ in settings)


@dataclass(frozen=True)
class Dense:
    """A Linear after a flatten: a map is `inner` features. Weight: (out, in, inner)."""

    def order(self, out: Any, into: Any) -> tuple[Any, Any]:
        """What belongs to output and input maps, in the order of the weight's axes."""
        return out, into

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Of some maps."""
        return torch.nn.functional.linear(x.flatten(1), weight.flatten(1), bias)

    def backward(
        self, grad: Tensor, x: Tensor, weight: Tensor, wanted: tuple[bool, bool, bool]
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Gradients of input, weight and bias, where wanted."""
        return (
            (grad @ weight.flatten(1)).view_as(x) if wanted[0] else None,
            (grad.t() @ x.flatten(1)).view_as(weight) if wanted[1] else None,
            grad.sum(0) if wanted[2] else None,
        )

    def size(self, space: tuple[int, ...], kernel: tuple[int, ...]) -> tuple[int, ...]:
        """None: an output is a number."""
        return ()


@dataclass(frozen=True)
class Job:
    """What is to be done: settings, the layouts of input and output (None: whole), a factor.

    Both layouts are a `Layout`, or both an `EqualLayout`, where they are not None.

    `relu`: the output's negative values become 0 in the same pass.
    """

    settings: Convolution | Dense
    source: Any
    target: Any
    gain: float = 1.0
    relu: bool = False


def mix(x: Tensor, weight: Tensor, bias: Tensor | None, job: Job) -> Tensor:
    """The operation's output; gradients of weights that nobody used are exactly 0.

    Args:
        x: whole, (samples, channels, *space), or packed in `job.source`.
        weight: of the whole operation; bias: (out,) or None.
    """
    device = x.device.type
    if torch.is_autocast_enabled(device) and x.dtype != torch.float64:
        dtype = torch.get_autocast_dtype(device)
        x, weight = x.to(dtype), weight.to(dtype)
        bias = None if bias is None else bias.to(dtype)
        with torch.autocast(device, enabled=False):
            return _apply(x, weight, bias, job)
    return _apply(x, weight, bias, job)


def _apply(x: Tensor, weight: Tensor, bias: Tensor | None, job: Job) -> Tensor:
    if isinstance(job.source or job.target, EqualLayout):
        return mix_equally(x, weight, bias, job)
    if fits(job.settings, x, weight):
        return mix_directly(x, weight, bias, job)
    mixed: Tensor = _Mix.apply(x, weight, bias, job)  # type: ignore[no-untyped-call]
    return mixed


class _Runs:
    """The job's stretches of samples, as views of whole or packed arrays."""

    def __init__(self, x: Tensor, weight: Tensor, job: Job) -> None:
        outputs, inputs = job.settings.order(*weight.shape[:2])
        known = job.source or job.target
        assert known is not None
        source = job.source or whole(known.samples, inputs)
        target = job.target or whole(known.samples, outputs)
        self.stretches = aligned([source, target])
        self.space = job.settings.size(tuple(x.shape[2:]), tuple(weight.shape[2:]))
        self.shape = (
            (known.samples, outputs, *self.space)
            if job.target is None
            else (1, job.target.rows, *self.space)
        )


def _samples(array: Tensor, layout: Layout | None, run: Run, low: int, high: int) -> Tensor:
    return array[low:high] if layout is None else run.of(array, low, high)


def _ids(layout: Layout | None, run: Run) -> Tensor | None:
    """The run's maps; None for all."""
    return None if layout is None else run.index


class _Mix(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, job: Job) -> Tensor:
        x = x if job.source is None else x.contiguous()
        plain = weight.contiguous()  # Channels last, its parts could not be picked fast.
        runs = _Runs(x, weight, job)
        out = x.new_empty(runs.shape)
        for low, high, (into, onto) in runs.stretches:
            place = _samples(out, job.target, onto, low, high)
            if place.numel() == 0:
                continue
            rows, columns = _ids(job.target, onto), _ids(job.source, into)
            first, second = job.settings.order(rows, columns)
            some = choose(plain, first, second, job.gain)
            shift = bias if bias is None or rows is None else choose(bias, rows)
            part = _samples(x, job.source, into, low, high)
            made = _forward(job.settings, part, some, shift, place)
            if job.relu:
                torch.clamp_min(made, 0, out=place)
            else:
                place.copy_(made)
        ctx.job, ctx.runs = job, runs
        ctx.save_for_backward(x, weight, bias, out if job.relu else None)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        job, runs = ctx.job, ctx.runs
        x, weight, bias, out = ctx.saved_tensors
        wanted = ctx.needs_input_grad[:3]
        grad = grad if job.target is None else grad.contiguous()
        grad_x = torch.zeros_like(x) if wanted[0] else None
        plain = weight.contiguous()
        grad_weight = torch.zeros_like(plain) if wanted[1] else None
        grad_bias = torch.zeros_like(bias) if wanted[2] else None
        for low, high, (into, onto) in runs.stretches:
            upper = _samples(grad, job.target, onto, low, high)
            part = _samples(x, job.source, into, low, high)
            if upper.numel() == 0:
                continue
            if out is not None:
                upper = aten.threshold_backward(
                    upper, _samples(out, job.target, onto, low, high), 0
                )
            rows, columns = _ids(job.target, onto), _ids(job.source, into)
            first, second = job.settings.order(rows, columns)
            some = choose(plain, first, second, job.gain)
            found = _backward(job.settings, upper, part, some, wanted)
            if grad_x is not None and found[0] is not None:
                _samples(grad_x, job.source, into, low, high).copy_(found[0])
            if grad_weight is not None and found[1] is not None:
                add_chosen(grad_weight, found[1], first, second)
            if grad_bias is not None and found[2] is not None:
                add_chosen(grad_bias, found[2], rows)
        if grad_weight is not None and job.gain != 1:
            grad_weight *= job.gain
        return grad_x, grad_weight, grad_bias, None


def _forward(
    settings: Convolution | Dense, x: Tensor, weight: Tensor, bias: Tensor | None, like: Tensor
) -> Tensor:
    if x.shape[1] == 0:  # Nothing is read: the bias alone.
        shift = like.new_zeros(like.shape[1]) if bias is None else bias
        return shift.view(1, -1, *[1] * (like.dim() - 2)).expand_as(like)
    return settings.forward(x, weight, bias)


def _backward(
    settings: Convolution | Dense, grad: Tensor, x: Tensor, weight: Tensor, wanted: Any
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    if x.shape[1] == 0:
        return None, None, grad.transpose(0, 1).flatten(1).sum(1) if wanted[2] else None
    return settings.backward(grad, x, weight, wanted)
