"""The settings of a convolution or Linear, by which it is called for some of its maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")
Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]
"""Of input, weight and bias."""


@dataclass(frozen=True)
class Convolution:
    """The arguments of `aten::convolution`. The weight is (out, in, *kernel), or transposed."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    output_padding: tuple[int, ...]
    transposed: bool = False

    def weight_order(self, out: T, into: T) -> tuple[T, T]:
        """Return what belongs to output and input maps in the order of the weight's axes."""
        return (into, out) if self.transposed else (out, into)

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return the output of some maps."""
        return torch.convolution(
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

    def backward(
        self, grad: Tensor, x: Tensor, weight: Tensor, needed: Sequence[bool]
    ) -> Gradients:
        """Return the gradients of input, weight and bias that are needed."""
        grads: Gradients = torch.ops.aten.convolution_backward(
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
            needed,
        )
        return grads

    def out_space(self, space: tuple[int, ...], kernel: tuple[int, ...]) -> tuple[int, ...]:
        """Return the size of an output map."""
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
class Linear:
    """A Linear after a flatten, whose maps are some features each: (out, in, features)."""

    def weight_order(self, out: T, into: T) -> tuple[T, T]:
        """Return what belongs to output and input maps in the order of the weight's axes."""
        return out, into

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return the output of some maps."""
        return torch.nn.functional.linear(x.flatten(1), weight.flatten(1), bias)

    def backward(
        self, grad: Tensor, x: Tensor, weight: Tensor, needed: Sequence[bool]
    ) -> Gradients:
        """Return the gradients of input, weight and bias that are needed."""
        return (
            (grad @ weight.flatten(1)).view_as(x) if needed[0] else None,
            (grad.t() @ x.flatten(1)).view_as(weight) if needed[1] else None,
            grad.sum(0) if needed[2] else None,
        )

    def out_space(self, space: tuple[int, ...], kernel: tuple[int, ...]) -> tuple[int, ...]:
        """Return (): an output map is one number."""
        return ()
