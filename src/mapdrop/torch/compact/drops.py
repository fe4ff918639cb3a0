"""Drops of whole maps, whose masks can be drawn before the step runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mapdrop.backends import cpu
from mapdrop.backends.torch.apply import bound_for
from mapdrop.backends.torch.autodiff import dropped
from mapdrop.backends.torch.seeds import read_seed, seed_tensor
from mapdrop.backends.torch.sharding import held
from mapdrop.backends.torch.text import Arguments, arguments, bound_to
from mapdrop.spec.law import survivors
from mapdrop.spec.local_spec import LocalSpec
from mapdrop.spec.mask_spec import BoundSpec, mask_spec
from mapdrop.torch.compact.lattice import Kept
from mapdrop.torch.compact.packing.layout import equal_rows
from mapdrop.torch.layers import Drop


@dataclass(frozen=True)
class Drawn:
    """A mask that was drawn: which maps of which samples are kept, and the words of its seed."""

    bits: Any  # (samples, channels): in NumPy, or a tensor if each sample keeps as many maps.
    source: Tensor


class MapDrop(ABC):
    """A drop of whole maps from an array of one shape.

    `gain` is what kept values are multiplied by.
    """

    gain: float

    @abstractmethod
    def kept(self, number: int) -> Kept:
        """Return the set of kept maps."""

    @abstractmethod
    def draw(self, device: torch.device) -> Drawn:
        """Return a mask, drawn from the same random numbers as by the layer itself."""

    def draw_on_device(self, device: torch.device) -> Drawn:
        """As `draw`, but the mask stays on the device. Only for drops with an exact count."""
        raise NotImplementedError

    @abstractmethod
    def apply(self, x: Tensor, drawn: Drawn) -> Tensor:
        """Return the layer's result for a whole array."""


class FeatureDropout(MapDrop):
    """PyTorch's own nn.Dropout1d, 2d and 3d: a coin for each of (sample, channel)."""

    def __init__(self, p: float, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        self.p, self.dtype = p, dtype
        self.shape = (*shape[:2], *[1] * (len(shape) - 2))
        self.gain = 1 / (1 - p) if p < 1 else 1.0

    def kept(self, number: int) -> Kept:
        """See `MapDrop`."""
        samples, channels = self.shape[:2]
        return Kept(number, channels, 1 - self.p, samples, channels)

    def draw(self, device: torch.device) -> Drawn:
        """See `MapDrop`. PyTorch draws the same for maps of one value as for larger ones."""
        ones = torch.ones(self.shape, dtype=self.dtype, device=device)
        noise = torch.feature_dropout(ones, self.p, True)
        return Drawn((noise != 0).flatten(1).cpu().numpy(), noise)

    def apply(self, x: Tensor, drawn: Drawn) -> Tensor:
        """See `MapDrop`."""
        return x * drawn.source


class PatternDrop(MapDrop):
    """A `Drop` layer whose coins belong to whole maps, or to whole samples."""

    def __init__(self, layer: Drop, bound: BoundSpec | LocalSpec, shape: tuple[int, ...]) -> None:
        self.layer, self.bound, self.shape = layer, bound, shape
        self.gain = bound.expected or 1.0

    @classmethod
    def of(cls, layer: Drop, shape: tuple[int, ...]) -> PatternDrop | None:
        """Return None if coins differ within a map, or the scale is counted from the mask."""
        of_maps = (*shape[:2], *[1] * (len(shape) - 2))
        bound = bound_to(of_maps, *_arguments(layer, len(shape))[1:])
        inside = [axis for part in bound.binding.axes[2:] for _, axis in part]
        if bound.law.block or bound.counted_axes is not None or any(a is not None for a in inside):
            return None
        return cls(layer, bound, shape)

    def kept(self, number: int) -> Kept:
        """See `MapDrop`."""
        by_sample, by_channel = (_coins(self.bound, axis) for axis in (0, 1))
        count = self._count
        edges = tuple(equal_rows(self._owners)) if count else ()
        return Kept(number, self.shape[1], self._density, by_sample, by_channel, count, edges)

    @property
    def _owners(self) -> Any:
        """The coin of each (sample, channel)."""
        coins = self.bound.binding.coins
        return self._spread(np.arange(int(np.prod(coins, dtype=np.int64))).reshape(coins))

    @property
    def _count(self) -> int:
        """The number of channels that every sample keeps; 0 if it varies."""
        law = self.bound.law
        if law.exact is None or not isinstance(self.bound, BoundSpec):
            return 0
        coins = self.bound.binding.coins[law.exact]
        by_channel = _coins(self.bound, 1)
        each, rest = divmod(self.shape[1], coins)
        return each * survivors(law.p, coins) if coins == by_channel and not rest else 0

    @property
    def _density(self) -> float:
        law = self.bound.law
        return 1 - law.p if law.exact is None else (1 / self.gain if self.bound.expected else 0.0)

    def draw(self, device: torch.device) -> Drawn:
        """See `MapDrop`."""
        source = self._words(device)
        key, at = read_seed(source, None)
        coins, _ = cpu.drawn(self.bound, key, at, torch.get_num_threads())
        return Drawn(self._spread(coins), source)

    def _words(self, device: torch.device) -> Tensor:
        return seed_tensor(torch.empty(0, device=device), self.layer.source, 0)

    def draw_on_device(self, device: torch.device) -> Drawn:
        """See `MapDrop`: what the layer itself makes of maps of one value each."""
        source = self._words(device)
        ones = torch.ones((*self.shape[:2], *[1] * (len(self.shape) - 2)), device=device)
        return Drawn((self.apply(ones, Drawn(None, source)) != 0).flatten(1), source)

    def _spread(self, coins: Any) -> Any:
        binding = self.bound.binding
        order, lined_up = binding.ungrouped.lineup
        every = cpu.repeated(coins, binding).transpose(order).reshape(lined_up)
        return np.broadcast_to(every, binding.ungrouped.factors).reshape(self.shape[:2])

    def apply(self, x: Tensor, drawn: Drawn) -> Tensor:
        """See `MapDrop`."""
        arguments = _arguments(self.layer, len(self.shape))
        bound_for(x, arguments)  # For its checks.
        return dropped(x, drawn.source, arguments)


def _arguments(layer: Drop, rank: int) -> Arguments:
    return arguments(mask_spec(*layer._mask_arguments), None, held(rank))


def _coins(bound: BoundSpec | LocalSpec, axis: int) -> int:
    found = [bound.binding.coins[coin] for _, coin in bound.binding.axes[axis] if coin is not None]
    return int(np.prod(found, dtype=np.int64)) if found else 1


def drops_maps(module: Any) -> bool:
    """Whether a module may drop whole maps in training."""
    kinds = (Drop, torch.nn.Dropout1d, torch.nn.Dropout2d, torch.nn.Dropout3d)
    return isinstance(module, kinds) and module.training and module.p > 0


def has_exact_drops(model: nn.Module) -> bool:
    """Return whether any layer of the model drops an exact number."""
    return any(isinstance(m, Drop) and m.exact is not None for m in model.modules())


def map_drop(layer: Any, shape: tuple[int, ...], dtype: torch.dtype) -> MapDrop | None:
    """Return what a module drops from an array of that shape; None if it drops no whole maps."""
    if isinstance(layer, Drop):
        fits = len(shape) >= 2 and layer.p > 0
        return PatternDrop.of(layer, shape) if fits else None
    return None
