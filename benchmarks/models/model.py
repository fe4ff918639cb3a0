"""A registered network: how to make it, what it reads, and where it comes from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Size:
    """One size of a network: `build` draws its weights, `shape` is its input's, batch first."""

    build: Callable[[], nn.Module]
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Model:
    """A network in two sizes: `full` to be timed, `small` to be tested in 64-bit floats.

    `p` is the authors' rate; where they used several, the one that most of the drop layers have.
    """

    name: str
    source: str
    p: float
    full: Size
    small: Size

    def make(self, *, small: bool = False) -> nn.Module:
        """The network in training mode. Its weights are the same each time, whatever was seeded."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            return self._size(small).build().train()

    def inputs(self, batch: int | None = None, *, small: bool = False) -> tuple[Tensor, ...]:
        """What `forward` is called with: normal noise, the same each time."""
        size, *rest = self._size(small).shape
        generator = torch.Generator().manual_seed(1)
        return (torch.randn(size if batch is None else batch, *rest, generator=generator),)

    def _size(self, small: bool) -> Size:
        return self.small if small else self.full
