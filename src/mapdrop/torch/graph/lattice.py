"""The lattice of the dataflow: sets of maps, each a pair of a sample and a channel.

A set is an expression when a model is lowered; its bits are known once a step's masks are drawn.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.bool_]  # (samples, channels)


class MapSet(Protocol):
    """A set of maps of an array with `channels` channels, with what is known before it is drawn.

    Attributes:
        density: the expected share of the maps that are in the set.
        runs: into how many runs of samples with the same channels a batch falls.
        coins: how many independent coins decide about the channels of a sample.
    """

    @property
    def channels(self) -> int: ...
    @property
    def density(self) -> float: ...
    @property
    def runs(self) -> int: ...
    @property
    def coins(self) -> int: ...

    def bits(self, drawn: Mapping[int, Bits], samples: int) -> Bits:
        """Return the set itself. `drawn` has the maps that each drop keeps, by its number."""

    def from_known(self, known: Callable[[int], bool]) -> MapSet:
        """Return a superset that depends only on the drops whose numbers are `known`."""


@dataclass(frozen=True)
class AllMaps:
    """Every map: the top of the lattice."""

    channels: int
    density: ClassVar[float] = 1.0
    runs = 1
    coins = 1

    def bits(self, drawn: Mapping[int, Bits], samples: int) -> Bits:
        return np.ones((samples, self.channels), bool)

    def from_known(self, known: Callable[[int], bool]) -> MapSet:
        return self


@dataclass(frozen=True)
class NoMaps:
    """No map: the bottom of the lattice."""

    channels: int
    density: ClassVar[float] = 0.0
    runs = 1
    coins = 1

    def bits(self, drawn: Mapping[int, Bits], samples: int) -> Bits:
        return np.zeros((samples, self.channels), bool)

    def from_known(self, known: Callable[[int], bool]) -> MapSet:
        return self


@dataclass(frozen=True)
class Kept:
    """The maps that a drop keeps. Each drop of a graph has a `number` of its own."""

    number: int
    channels: int
    density: float
    runs: int
    coins: int
    count: int = 0  # Kept channels of each sample; 0 if that varies with the mask.
    edges: tuple[tuple[int, int], ...] = ()  # Runs of samples with one mask, (first, last).

    def bits(self, drawn: Mapping[int, Bits], samples: int) -> Bits:
        return drawn[self.number]

    def from_known(self, known: Callable[[int], bool]) -> MapSet:
        return self if known(self.number) else AllMaps(self.channels)


@dataclass(frozen=True)
class _Pair:
    left: MapSet
    right: MapSet

    @property
    def channels(self) -> int:
        return self.left.channels

    @property
    def runs(self) -> int:
        """Return the number of runs, if the runs of one set subdivide those of the other."""
        return max(self.left.runs, self.right.runs)

    @property
    def coins(self) -> int:
        return max(self.left.coins, self.right.coins)


@dataclass(frozen=True)
class Intersection(_Pair):
    """The maps that are in both sets."""

    @property
    def density(self) -> float:
        """Return the density, taking the sets as independent."""
        return self.left.density * self.right.density

    def bits(self, drawn: Mapping[int, Bits], samples: int) -> Bits:
        return self.left.bits(drawn, samples) & self.right.bits(drawn, samples)

    def from_known(self, known: Callable[[int], bool]) -> MapSet:
        return intersection(self.left.from_known(known), self.right.from_known(known))


@dataclass(frozen=True)
class Union(_Pair):
    """The maps that are in at least one of the sets."""

    @property
    def density(self) -> float:
        """Return the density, taking the sets as independent."""
        return 1 - (1 - self.left.density) * (1 - self.right.density)

    def bits(self, drawn: Mapping[int, Bits], samples: int) -> Bits:
        return self.left.bits(drawn, samples) | self.right.bits(drawn, samples)

    def from_known(self, known: Callable[[int], bool]) -> MapSet:
        return union(self.left.from_known(known), self.right.from_known(known))


@dataclass(frozen=True)
class Concatenated:
    """Sets side by side along the channels."""

    parts: tuple[MapSet, ...]

    @property
    def channels(self) -> int:
        return sum(part.channels for part in self.parts)

    @property
    def density(self) -> float:
        return sum(part.density * part.channels for part in self.parts) / max(1, self.channels)

    @property
    def runs(self) -> int:
        return max(part.runs for part in self.parts)

    @property
    def coins(self) -> int:
        return sum(part.coins for part in self.parts)

    def bits(self, drawn: Mapping[int, Bits], samples: int) -> Bits:
        return np.concatenate([part.bits(drawn, samples) for part in self.parts], axis=1)

    def from_known(self, known: Callable[[int], bool]) -> MapSet:
        return concatenated([part.from_known(known) for part in self.parts])


@dataclass(frozen=True)
class _Derived:
    """A set made from another, with the same numbers unless a subclass says otherwise."""

    inner: MapSet

    @property
    def density(self) -> float:
        return self.inner.density

    @property
    def runs(self) -> int:
        return self.inner.runs

    @property
    def coins(self) -> int:
        return self.inner.coins


@dataclass(frozen=True)
class ChannelSlice(_Derived):
    """The `channels` channels from `first` on."""

    first: int
    channels: int

    def bits(self, drawn: Mapping[int, Bits], samples: int) -> Bits:
        return self.inner.bits(drawn, samples)[:, self.first : self.first + self.channels]

    def from_known(self, known: Callable[[int], bool]) -> MapSet:
        return channel_slice(self.inner.from_known(known), self.first, self.channels)


@dataclass(frozen=True)
class Repeated(_Derived):
    """Each channel `times` times in a row, as a depthwise convolution makes them."""

    times: int

    @property
    def channels(self) -> int:
        return self.inner.channels * self.times

    def bits(self, drawn: Mapping[int, Bits], samples: int) -> Bits:
        return np.repeat(self.inner.bits(drawn, samples), self.times, axis=1)

    def from_known(self, known: Callable[[int], bool]) -> MapSet:
        return repeated(self.inner.from_known(known), self.times)


@dataclass(frozen=True)
class AnyInBlock(_Derived):
    """The blocks of `size` channels of which at least one is in the set."""

    size: int

    @property
    def channels(self) -> int:
        return self.inner.channels // self.size

    @property
    def density(self) -> float:
        coins = max(1.0, self.inner.coins * self.size / max(1, self.inner.channels))
        return float(1 - (1 - self.inner.density) ** coins)

    def bits(self, drawn: Mapping[int, Bits], samples: int) -> Bits:
        bits = self.inner.bits(drawn, samples)
        return np.asarray(bits.reshape(len(bits), self.channels, self.size).any(axis=2))

    def from_known(self, known: Callable[[int], bool]) -> MapSet:
        return any_in_block(self.inner.from_known(known), self.size)


@dataclass(frozen=True)
class AnySample(_Derived):
    """For every sample, the channels that at least one sample of the batch has."""

    runs = 1

    @property
    def channels(self) -> int:
        return self.inner.channels

    @property
    def density(self) -> float:
        return float(1 - (1 - self.inner.density) ** self.inner.runs)

    def bits(self, drawn: Mapping[int, Bits], samples: int) -> Bits:
        bits = self.inner.bits(drawn, samples)
        return np.broadcast_to(bits.any(axis=0), bits.shape)

    def from_known(self, known: Callable[[int], bool]) -> MapSet:
        return any_sample(self.inner.from_known(known))


def intersection(left: MapSet, right: MapSet) -> MapSet:
    """Return the intersection, in its shortest form."""
    if isinstance(left, AllMaps) or left == right:
        return right
    if isinstance(right, AllMaps) or _within(left, right):
        return left
    return right if _within(right, left) else Intersection(left, right)


def union(left: MapSet, right: MapSet) -> MapSet:
    """Return the union, in its shortest form."""
    if isinstance(left, AllMaps) or left == right or _within(right, left):
        return left
    return right if isinstance(right, AllMaps) or _within(left, right) else Union(left, right)


def _within(small: MapSet, large: MapSet) -> bool:
    """Return whether the expressions alone show that `small` lies in `large`."""
    if small == large:
        return True
    return isinstance(small, Intersection) and (
        _within(small.left, large) or _within(small.right, large)
    )


def concatenated(parts: list[MapSet]) -> MapSet:
    """Return the sets side by side; `AllMaps` if all of them are."""
    if all(isinstance(part, AllMaps) for part in parts):
        return AllMaps(sum(part.channels for part in parts))
    flat = [
        p for part in parts for p in (part.parts if isinstance(part, Concatenated) else (part,))
    ]
    return flat[0] if len(flat) == 1 else Concatenated(tuple(flat))


def channel_slice(inner: MapSet, first: int, channels: int) -> MapSet:
    """Return some channels; of concatenated sets, the sets that the channels come from."""
    if (first, channels) == (0, inner.channels):
        return inner
    if isinstance(inner, AllMaps):
        return AllMaps(channels)
    if isinstance(inner, Concatenated):
        pieces, at = [], 0
        for piece in inner.parts:
            low, high = max(first, at), min(first + channels, at + piece.channels)
            if low < high:
                pieces.append(channel_slice(piece, low - at, high - low))
            at += piece.channels
        return concatenated(pieces)
    return ChannelSlice(inner, first, channels)


def repeated(inner: MapSet, times: int) -> MapSet:
    """Return the set with each channel `times` times."""
    if times == 1:
        return inner
    if isinstance(inner, AllMaps):
        return AllMaps(inner.channels * times)
    return Repeated(inner, times)


def any_in_block(inner: MapSet, size: int) -> MapSet:
    """Return the blocks of `size` channels that have at least one in the set."""
    if size == 1:
        return inner
    if isinstance(inner, Repeated) and inner.times == size:
        return inner.inner
    if isinstance(inner, AllMaps):
        return AllMaps(inner.channels // size)
    return AnyInBlock(inner, size)


def any_sample(inner: MapSet) -> MapSet:
    """Return, for every sample, the channels that at least one sample has."""
    shared = isinstance(inner, AllMaps | AnySample) or (isinstance(inner, Kept) and inner.runs == 1)
    return inner if shared else AnySample(inner)


def with_static_count(maps: MapSet) -> MapSet:
    """Return a superset with the same number of channels in every sample, known ahead."""
    if isinstance(maps, Kept) and maps.count:
        return maps
    sides = (maps.left, maps.right) if isinstance(maps, Intersection) else ()
    counted = [side for side in map(with_static_count, sides) if not isinstance(side, AllMaps)]
    return counted[0] if counted else AllMaps(maps.channels)


def equal_rows(bits: Bits) -> list[tuple[int, int]]:
    """Return the longest stretches (first, last) of equal rows."""
    if len(bits) == 0:
        return []
    changes = np.flatnonzero((bits[1:] != bits[:-1]).any(axis=1)) + 1
    edges = [0, *changes.tolist(), len(bits)]
    return list(itertools.pairwise(edges))
