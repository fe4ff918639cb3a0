"""Drops of whole maps in a graph, whose masks can be drawn before the step runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mapdrop.backends import cpu
from mapdrop.backends.torch.apply import bound_for
from mapdrop.backends.torch.autodiff import dropped
from mapdrop.backends.torch.rows import factor_dtype
from mapdrop.backends.torch.seeds import read_seed
from mapdrop.backends.torch.text import Arguments, bound_to
from mapdrop.spec.law import survivors
from mapdrop.spec.local_spec import LocalSpec
from mapdrop.spec.mask_spec import BoundSpec
from mapdrop.spec.pattern import PatternError
from mapdrop.torch.graph.graph import Node, without_writing
from mapdrop.torch.graph.lattice import Kept, equal_rows


@dataclass(frozen=True)
class Drawn:
    """A mask that was drawn: which maps of which samples are kept, and what it was drawn from."""

    bits: Any  # (samples, channels): in NumPy, or a tensor if each sample keeps as many maps.
    source: Any  # A tensor; of replicas one for each.


class MapDrop(ABC):
    """A drop of whole maps from an array of one shape.

    Attributes:
        gain: what kept values are multiplied by.
        exact: whether the number that it drops is certain.
        seed: the node of the seed that the mask follows from; None if the call draws it.
    """

    gain: float
    seed: Node | None = None
    exact = False

    @abstractmethod
    def kept(self, number: int) -> Kept:
        """Return the set of kept maps."""

    @abstractmethod
    def draw(self, seed: Any) -> Drawn:
        """Return a mask, drawn from the same random numbers as by the layer itself."""

    def draw_on_device(self, seed: Any) -> Drawn:
        """As `draw`, but the mask stays on the device. Only for drops with an exact count."""
        raise NotImplementedError

    @abstractmethod
    def apply(self, x: Tensor, drawn: Drawn) -> Tensor:
        """Return the layer's result for a whole array."""

    def factors(self, drawn: Drawn, like: Tensor) -> Tensor:
        """Return what each map is multiplied by, for arrays of such a type: (b, c, 1, ...)."""
        factors = torch.as_tensor(drawn.bits * self.gain).to(like.device, like.dtype)
        return factors.view(*factors.shape, *[1] * (like.dim() - 2))


class FeatureDropout(MapDrop):
    """PyTorch's own nn.Dropout1d, 2d and 3d: a coin for each of (sample, channel)."""

    def __init__(
        self, p: float, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device
    ) -> None:
        self.p, self.dtype, self.device = p, dtype, device
        self.shape = (*shape[:2], *[1] * (len(shape) - 2))
        self.gain = 1 / (1 - p) if p < 1 else 1.0

    def kept(self, number: int) -> Kept:
        """See `MapDrop`."""
        samples, channels = self.shape[:2]
        return Kept(number, channels, 1 - self.p, samples, channels)

    def draw(self, seed: Any) -> Drawn:
        """See `MapDrop`. PyTorch draws the same for maps of one value as for larger ones."""
        ones = torch.ones(self.shape, dtype=self.dtype, device=self.device)
        noise = torch.feature_dropout(ones, self.p, True)
        return Drawn((noise != 0).flatten(1).cpu().numpy(), noise)

    def apply(self, x: Tensor, drawn: Drawn) -> Tensor:
        """See `MapDrop`."""
        noise: Tensor = drawn.source
        return x * noise


class PatternDrop(MapDrop):
    """A drop by a pattern whose coins belong to whole maps, or to whole samples."""

    def __init__(
        self,
        seed: Node,
        arguments: Arguments,
        bound: BoundSpec | LocalSpec,
        shape: tuple[int, ...],
    ) -> None:
        self.seed, self.arguments, self.bound, self.shape = seed, arguments, bound, shape
        self.gain = bound.expected or 1.0
        self.exact = bound.law.exact is not None

    def kept(self, number: int) -> Kept:
        """See `MapDrop`."""
        by_sample, by_channel = (_coins(self.bound, axis) for axis in (0, 1))
        count = self._count
        edges = tuple(equal_rows(self._owners)) if count else ()
        return Kept(number, self.shape[1], self.density, by_sample, by_channel, count, edges)

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
    def of_samples(self) -> bool:
        """Whether all channels of a sample are kept or dropped together."""
        return _coins(self.bound, 1) == 1

    @property
    def density(self) -> float:
        """The expected share of maps that are kept."""
        law = self.bound.law
        return 1 - law.p if law.exact is None else (1 / self.gain if self.bound.expected else 0.0)

    @property
    def most_samples(self) -> int | None:
        """How many samples a branch runs for at most, if a drop of samples ties them; else None.

        That is the largest number that is kept, or 1: few operations take an empty batch.
        """
        if self.bound.law.axis is None:
            return None
        return min(self.shape[0], max(1, self.bound.most // max(1, self.shape[1])))

    def sample_factors(self, seed: Tensor) -> Tensor:
        """Return what each sample is multiplied by, of a drop of samples: (samples,)."""
        if self.bound.counted_axes is None:
            return torch.from_numpy(self.draw(seed).bits[:, 0] * self.gain)
        return self.factors_on_device(seed)

    def factors_on_device(self, seed: Tensor) -> Tensor:
        """As `sample_factors`, but nothing waits for the seed's device."""
        return self._of_ones(seed, factor_dtype(seed.device)).flatten(1)[:, 0]

    def draw(self, seed: Any) -> Drawn:
        """See `MapDrop`."""
        key, at = read_seed(seed, self.arguments[0])
        coins, _ = cpu.drawn(self.bound, key, at, torch.get_num_threads())
        return Drawn(self._spread(coins), seed)

    def draw_on_device(self, seed: Any) -> Drawn:
        """See `MapDrop`."""
        return Drawn((self._of_ones(seed, torch.float32) != 0).flatten(1), seed)

    def _of_ones(self, seed: Tensor, dtype: torch.dtype) -> Tensor:
        """Return what the operation itself makes of maps of one value each."""
        shape = (*self.shape[:2], *[1] * (len(self.shape) - 2))
        return self.apply(torch.ones(shape, dtype=dtype, device=seed.device), Drawn(None, seed))

    def _spread(self, coins: Any) -> Any:
        binding = self.bound.binding
        order, lined_up = binding.ungrouped.lineup
        every = cpu.repeated(coins, binding).transpose(order).reshape(lined_up)
        return np.broadcast_to(every, binding.ungrouped.factors).reshape(self.shape[:2])

    def apply(self, x: Tensor, drawn: Drawn) -> Tensor:
        """See `MapDrop`."""
        bound_for(x, self.arguments)  # For its checks.
        return dropped(x, drawn.source, self.arguments)


def _coins(bound: BoundSpec | LocalSpec, axis: int) -> int:
    found = [bound.binding.coins[coin] for _, coin in bound.binding.axes[axis] if coin is not None]
    return int(np.prod(found, dtype=np.int64)) if found else 1


def feature_drop(node: Node) -> MapDrop | None:
    """Return what a call of PyTorch's own drop of maps drops; None if it drops none."""
    p, active = node.argument("p", 1, 0.5), node.argument("training", 2, True)
    shape = node.arrays[0].shape if node.arrays else ()
    # Dropout1d and 3d take an array with one axis less for one sample without a batch axis.
    ranks = {"1d": (3,), "2d": (3, 4), "3d": (5,)}[node.operation[-2:]]
    fits = active and p > 0 and len(shape) in ranks
    return FeatureDropout(p, shape, node.value.dtype, node.value.device) if fits else None


def pattern_drop_of(node: Node, counted: bool = False) -> PatternDrop | None:
    """Return what a call of mapdrop's operation drops; None if coins differ within a map.

    A drop whose scale is counted from the mask counts only if that is allowed: it has no one gain.
    """
    source, seed, *rest = node.args
    shape, arguments = source.shape, tuple(rest)
    if len(shape) < 2 or arguments[2] == 0 or not _is_free(seed):
        return None
    of_maps = (*shape[:2], *[1] * (len(shape) - 2))
    try:
        bound = bound_to(of_maps, *arguments[1:])
    except PatternError:  # It splits an axis that maps have.
        return None
    inside = [axis for part in bound.binding.axes[2:] for _, axis in part]
    has_counts = bound.counted_axes is not None and not counted
    if bound.law.block or has_counts or any(a is not None for a in inside):
        return None
    return PatternDrop(seed, arguments, bound, shape)


def _is_free(seed: Node) -> bool:
    """Return whether a seed can be had before any array of the model, and nothing is written."""
    small, reads = len(seed.shape) < 2, without_writing(seed.target) is seed.target
    return small and reads and all(map(_is_free, seed.inputs))
