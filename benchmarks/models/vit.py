"""Blocks of a vision transformer in plain PyTorch, with drop path on both of their branches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everyone knows it by

from mapdrop.tools.adapters.torch_peers import timm_drop_path


@dataclass(frozen=True)
class Size:
    """What a stack is made of, and the (batch, tokens, width) of its input."""

    width: int
    heads: int
    depth: int
    tokens: int
    batch: int


class DropPath(nn.Module):
    """Drop samples as timm does: compute all of the branch and multiply it by the coins."""

    def __init__(self, drop_prob: float) -> None:
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x: Tensor) -> Tensor:
        if self.drop_prob == 0 or not self.training:
            return x
        return timm_drop_path(x, self.drop_prob)


class Attention(nn.Module):
    """Self-attention over the tokens of each sample."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        y: Tensor = self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return y


class Block(nn.Module):
    """Attention and an MLP, each after a LayerNorm, dropped by samples and added."""

    def __init__(
        self, width: int, heads: int, p: float, drop: Callable[[float], nn.Module] = DropPath
    ) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )
        self.p, self.drop1, self.drop2 = p, drop(p), drop(p)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop1(self.attention(self.norm1(x)))
        y: Tensor = x + self.drop2(self.mlp(self.norm2(x)))
        return y


class SubsetBlock(Block):
    """The same block, written to skip as DINOv2's is: a random subset of a fixed number of samples.

    The number is rounded down, so the rate is not p. DINOv2 itself does so only where p > 0.1.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.p == 0 or not self.training:
            return super().forward(x)
        x = _plus_subset(x, lambda kept: self.attention(self.norm1(kept)), self.p)
        return _plus_subset(x, lambda kept: self.mlp(self.norm2(kept)), self.p)


def _plus_subset(x: Tensor, branch: Callable[[Tensor], Tensor], p: float) -> Tensor:
    """DINOv2's drop_add_residual_stochastic_depth, as of 2024."""
    samples = len(x)
    number = max(int(samples * (1 - p)), 1)
    kept = torch.randperm(samples, device=x.device)[:number]
    residual = branch(x[kept]).flatten(1)
    added = torch.index_add(x.flatten(1), 0, kept, residual.to(x.dtype), alpha=samples / number)
    return added.view_as(x)


class BlockKind(Protocol):
    """What makes a block: `Block`, also with other drop layers, or `SubsetBlock`."""

    def __call__(self, width: int, heads: int, p: float) -> nn.Module:
        """Return a block whose branches drop samples at rate p."""


def stack(size: Size, rates: Sequence[float], block: BlockKind = Block) -> nn.Sequential:
    """Return blocks in a row, one for each rate."""
    return nn.Sequential(*(block(size.width, size.heads, p) for p in rates))


def uniform(p: float, depth: int) -> tuple[float, ...]:
    """Return the same rate for every block.

    >>> uniform(0.5, 3)
    (0.5, 0.5, 0.5)
    """
    return (p,) * depth


def ramped(p: float, depth: int) -> tuple[float, ...]:
    """Return rates that rise evenly from 0 for the first block to p for the last.

    >>> ramped(0.5, 3)
    (0.0, 0.25, 0.5)
    """
    return tuple(p * block / (depth - 1) for block in range(depth))
