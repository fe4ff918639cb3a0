"""Layers that drop whole samples, as several libraries write them, and mapdrop's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mapdrop.torch import Drop, DropPath


class _Other(nn.Module):
    """What such a layer of another library has: a rate."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def extra_repr(self) -> str:
        return f"p={self.p}"


class TimmDropPath(_Other):
    """The arithmetic of timm's `drop_path`, which overwrites the coins in place."""

    def forward(self, x: Tensor) -> Tensor:
        if self.p == 0.0 or not self.training:
            return x
        keep = 1 - self.p
        shape = (x.shape[0],) + (1,) * (x.ndim - 1)
        coins = x.new_empty(shape).bernoulli_(keep)
        if keep > 0.0:
            coins.div_(keep)
        return x * coins


class StochasticDepth(_Other):
    """The arithmetic of torchvision's `stochastic_depth`: a coin for each row, or for the batch."""

    def __init__(self, p: float, mode: str = "row") -> None:
        super().__init__(p)
        self.mode = mode

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0.0:
            return x
        survival = 1.0 - self.p
        rows = [x.shape[0]] if self.mode == "row" else [1]
        noise = torch.empty(rows + [1] * (x.ndim - 1), dtype=x.dtype, device=x.device)
        noise = noise.bernoulli_(survival)
        if survival > 0.0:
            noise.div_(survival)
        return x * noise


class TransformersDropPath(_Other):
    """The arithmetic of the transformers package's `drop_path`: a uniform number, rounded down."""

    def forward(self, x: Tensor) -> Tensor:
        if self.p == 0.0 or not self.training:
            return x
        keep = 1 - self.p
        shape = (x.shape[0],) + (1,) * (x.ndim - 1)
        coins = keep + torch.rand(shape, dtype=x.dtype, device=x.device)
        coins.floor_()
        return x.div(keep) * coins


class NewTransformersDropPath(_Other):
    """The same as later versions of the package write it, without an operation in place."""

    def forward(self, x: Tensor) -> Tensor:
        if self.p == 0.0 or not self.training:
            return x
        keep = 1 - self.p
        shape = (x.shape[0],) + (1,) * (x.ndim - 1)
        coins = torch.floor(torch.rand(shape, dtype=x.dtype, device=x.device) + keep)
        return x.div(keep) * coins


def pattern(text: str, **options: Any) -> Callable[[float], nn.Module]:
    """Return what makes mapdrop's layer of a pattern for a rate."""
    return lambda p: Drop(text, p, **options)


def batch_mode(p: float) -> nn.Module:
    """Return torchvision's layer with one coin for the batch."""
    return StochasticDepth(p, "batch")


DROPS: dict[str, Callable[[float], nn.Module]] = {
    "timm": TimmDropPath,
    "torchvision-row": StochasticDepth,
    "torchvision-batch": batch_mode,
    "transformers": TransformersDropPath,
    "transformers-new": NewTransformersDropPath,
    "drop-path": DropPath,
    "unscaled": lambda p: DropPath(p, scale=None),
    "balance": pattern("b ... -> b", balance="b"),
    "exact": pattern("b ... -> b", exact="b"),
    "scale-batch": pattern("b ... -> b", scale="batch"),
    "groups": pattern("(m s) ... -> m", s=2),
    "batch": pattern("... ->"),
}
"""By name, what makes a layer for a rate."""


class Residual(nn.Module):
    """Add to x what a branch makes of it, with dropped samples: `after(skip(x) + drop(branch(x)))`.

    What is added goes through the layer `added`, so that a hook sees it.

    Args:
        branch: called with x, and with whatever else the block is called with.
        drop: the layer that drops samples.
        skip: of the other side, as a convolution of ResNets where the number of maps changes.
        after: of the sum, as the ReLU of ResNets.
    """

    def __init__(
        self,
        branch: nn.Module,
        drop: nn.Module,
        skip: nn.Module | None = None,
        after: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.branch, self.drop = branch, drop
        self.skip, self.after = skip or nn.Identity(), after or nn.Identity()
        self.added = nn.Identity()

    def forward(self, x: Tensor, *others: Tensor) -> Any:
        """Return the sum; `others` have the same samples."""
        return self.after(self.skip(x) + self.added(self.drop(self.branch(x, *others))))


class Inlined(Residual):
    """The same with the arithmetic in the block's own forward, and the sum the other way round."""

    def forward(self, x: Tensor, *others: Tensor) -> Any:
        """Return the sum."""
        y = self.branch(x, *others)
        if self.training:
            keep = 1 - float(self.drop.p)  # type: ignore[arg-type]
            coins = y.new_empty(y.shape[0], *[1] * (y.dim() - 1)).bernoulli_(keep)
            y = coins.div_(keep) * y
        y = self.added(y) + self.skip(x)
        return self.after(y)
