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
    """A mask that was drawn: which maps of which samples are kept, and what it was drawn from.

    Attributes:
        bits: (samples, channels): in NumPy, or a tensor if each sample keeps as many maps.
        source: what it was drawn from.
        gain: what kept values are multiplied by, besides the gain of the drop.
    """

    bits: Any
    source: Any
    gain: float = 1.0


class MapDrop(ABC):
    """A drop of whole maps from an array of one shape.

    Attributes:
        gain: what kept values are multiplied by, if that is known before a mask is drawn; or 1.
        exact: whether the number that it drops is certain.
        given: the nodes that the mask follows from: a seed, and a rate if that is scheduled. None
            if the call draws it.
    """

    gain: float
    given: tuple[Node, ...] = ()
    exact = False

    @abstractmethod
    def kept(self, number: int) -> Kept:
        """Return the set of kept maps."""

    @abstractmethod
    def draw(self, *given: Tensor) -> Drawn:
        """Return a mask, drawn from the same random numbers as by the layer itself."""

    def draw_on_device(self, *given: Tensor) -> Drawn:
        """As `draw`, but the mask stays on the device. Only for drops with an exact count."""
        raise NotImplementedError

    @abstractmethod
    def apply(self, x: Tensor, drawn: Drawn) -> Tensor:
        """Return the layer's result for a whole array."""

    def factors(self, drawn: Drawn, like: Tensor) -> Tensor:
        """Return what each map is multiplied by, for arrays of such a type: (b, c, 1, ...)."""
        gain = self.gain * drawn.gain
        factors = torch.as_tensor(drawn.bits * gain).to(like.device, like.dtype)
        return factors.view(*factors.shape, *[1] * (like.dim() - 2))


class FeatureDropout(MapDrop):
    """PyTorch's own nn.Dropout1d, 2d and 3d: a coin for each of (sample, channel)."""

    p: float
    dtype: torch.dtype
    device: torch.device

    def __init__(
        self, p: float, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device
    ) -> None:
        self.p, self.dtype, self.device = p, dtype, device
        self.shape: tuple[int, ...] = (*shape[:2], *[1] * (len(shape) - 2))
        self.gain: float = 1 / (1 - p) if p < 1 else 1.0

    def kept(self, number: int) -> Kept:
        """See `MapDrop`."""
        samples, channels = self.shape[:2]
        return Kept(number, channels, 1 - self.p, samples, channels)

    def draw(self, *given: Tensor) -> Drawn:
        """See `MapDrop`. PyTorch draws the same for maps of one value as for larger ones."""
        ones = torch.ones(self.shape, dtype=self.dtype, device=self.device)
        noise = torch.feature_dropout(ones, self.p, True)
        return Drawn((noise != 0).flatten(1).cpu().numpy(), noise)

    def apply(self, x: Tensor, drawn: Drawn) -> Tensor:
        """See `MapDrop`."""
        noise: Tensor = drawn.source
        return x * noise


class PatternDrop(MapDrop):
    """A drop by a pattern whose coins belong to whole maps, or to whole samples.

    Where its rate is scheduled, it is planned for the layer's own rate, and drawn at the present
    one. No gain or count is known before.

    Args:
        given: the nodes of the seed and, where it is scheduled, the rate.
        arguments: of the operation; p is the layer's own rate.
        bound: the spec of such arguments, bound to maps of one value.
        shape: of the array.
    """

    given: tuple[Node, ...]
    arguments: Arguments
    bound: BoundSpec | LocalSpec
    shape: tuple[int, ...]

    def __init__(
        self,
        given: tuple[Node, ...],
        arguments: Arguments,
        bound: BoundSpec | LocalSpec,
        shape: tuple[int, ...],
    ) -> None:
        self.given, self.arguments, self.bound, self.shape = given, arguments, bound, shape
        self.scheduled: bool = len(given) > 1
        self.gain: float = 1.0 if self.scheduled else bound.expected or 1.0
        self.exact: bool = bound.law.exact is not None and not self.scheduled

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
        if not self.exact or law.exact is None or not isinstance(self.bound, BoundSpec):
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
        return 1 - law.rate(self.bound.binding.coins)

    @property
    def most_samples(self) -> int | None:
        """How many samples a branch runs for at most, if a drop of samples ties them; else None.

        That is the largest number that is kept, or 1: few operations take an empty batch.
        """
        if self.bound.law.axis is None or self.scheduled:
            return None
        return min(self.shape[0], max(1, self.bound.most // max(1, self.shape[1])))

    def sample_factors(self, *given: Tensor) -> Tensor:
        """Return what each sample is multiplied by, of a drop of samples: (samples,)."""
        if self.bound.counted_axes is None:
            drawn = self.draw(*given)
            return torch.from_numpy(drawn.bits[:, 0] * (self.gain * drawn.gain))
        return self.factors_on_device(*given)

    def factors_on_device(self, *given: Tensor) -> Tensor:
        """As `sample_factors`, but nothing waits for the seed's device."""
        return self._of_ones(given, factor_dtype(given[0].device)).flatten(1)[:, 0]

    def draw(self, *given: Tensor) -> Drawn:
        """See `MapDrop`."""
        stream, *spec = self._now(given)
        bound = bound_to(_of_maps(self.shape), *spec) if self.scheduled else self.bound
        key, at = read_seed(given[0], stream)
        coins, _ = cpu.drawn(bound, key, at, torch.get_num_threads())
        return Drawn(self._spread(coins), given, (bound.expected or 1.0) / self.gain)

    def draw_on_device(self, *given: Tensor) -> Drawn:
        """See `MapDrop`."""
        return Drawn((self._of_ones(given, torch.float32) != 0).flatten(1), given)

    def _of_ones(self, given: tuple[Tensor, ...], dtype: torch.dtype) -> Tensor:
        """Return what the operation itself makes of maps of one value each."""
        ones = torch.ones(_of_maps(self.shape), dtype=dtype, device=given[0].device)
        return self.apply(ones, Drawn(None, given))

    def _now(self, given: tuple[Tensor, ...]) -> Arguments:
        """Return the operation's arguments at the present rate."""
        stream, pattern, p, options = self.arguments
        return stream, pattern, float(given[1]) if self.scheduled else p, options

    def _spread(self, coins: Any) -> Any:
        binding = self.bound.binding
        order, lined_up = binding.ungrouped.lineup
        every = cpu.repeated(coins, binding).transpose(order).reshape(lined_up)
        return np.broadcast_to(every, binding.ungrouped.factors).reshape(self.shape[:2])

    def apply(self, x: Tensor, drawn: Drawn) -> Tensor:
        """See `MapDrop`."""
        arguments = self._now(drawn.source)
        bound_for(x, arguments)  # For its checks.
        return dropped(x, drawn.source[0], arguments)


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
    source, seed, stream, pattern, p, options = node.args
    scheduled = isinstance(p, Node)
    given = (seed, p) if scheduled else (seed,)
    shape, own = source.shape, _own_rate(p) if scheduled else p
    if len(shape) < 2 or not own or not all(map(_is_free, given)):
        return None
    arguments = (stream, pattern, own, options)
    try:
        bound = bound_to(_of_maps(shape), *arguments[1:])
    except PatternError:  # It splits an axis that maps have.
        return None
    inside = [axis for part in bound.binding.axes[2:] for _, axis in part]
    has_counts = bound.counted_axes is not None and not counted
    if bound.law.block or has_counts or any(a is not None for a in inside):
        return None
    return PatternDrop(given, arguments, bound, shape)


def _own_rate(rate: Node) -> float:
    """Return the rate that a scheduled layer has of its own; 0 of a tensor from elsewhere."""
    return float(rate.args[1]) if rate.operation == "mapdrop.rate" else 0.0


def _of_maps(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of an array with as many maps, of one value each."""
    return (*shape[:2], *[1] * (len(shape) - 2))


def _is_free(seed: Node) -> bool:
    """Return whether a seed can be had before any array of the model, and nothing is written."""
    small, reads = len(seed.shape) < 2, without_writing(seed.target) is seed.target
    return small and reads and all(map(_is_free, seed.inputs))
