"""Which maps of an array matter: sets of (sample, channel) pairs, written down symbolically.

A set is known as an expression when a model is planned, and as bits once a step's masks are drawn.
`density` is the share of pairs that is expected in it, `runs` into how many runs of samples with
the same channels a batch falls; both are for the cost model only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.bool_]  # (samples, channels)


class Maps(ABC):
    """A set of maps of an array with `channels` channels."""

    channels: int
    density: float
    runs: int
    coins: int

    @abstractmethod
    def bits(self, drawn: Mapping[int, Bits], samples: int) -> Bits:
        """The set itself, where `drawn` has each drop's kept maps."""

    @abstractmethod
    def where(self, known: Callable[[int], bool]) -> Maps:
        """A set that contains this one and needs only the drops that are `known`."""


@dataclass(frozen=True)
class Whole(Maps):
    """All maps."""

    channels: int
    density = 1.0
    runs = 1
    coins = 1

    def bits(self, drawn: Mapping[int, Bits], samples: int) -> Bits:
        """See `Maps`."""
        return np.ones((samples, self.channels), bool)

    def where(self, known: Callable[[int], bool]) -> Maps:
        """See `Maps`."""
        return self


@dataclass(frozen=True)
class Nothing(Whole):
    """No map."""

    density = 0.0

    def bits(self, drawn: Mapping[int, Bits], samples: int) -> Bits:
        """See `Maps`."""
        return np.zeros((samples, self.channels), bool)


@dataclass(frozen=True)
class Kept(Maps):
    """What a drop keeps; `number` tells the drops of a graph apart."""

    number: int
    channels: int
    density: float
    runs: int
    coins: int
    count: int = 0  # How many every sample has, where that is known before it is drawn.
    edges: tuple[tuple[int, int], ...] = ()  # The runs of samples with one mask, (first, last).

    def bits(self, drawn: Mapping[int, Bits], samples: int) -> Bits:
        """See `Maps`."""
        return drawn[self.number]

    def where(self, known: Callable[[int], bool]) -> Maps:
        """See `Maps`."""
        return self if known(self.number) else Whole(self.channels)


@dataclass(frozen=True)
class Both(Maps):
    """What lies in both sets."""

    left: Maps
    right: Maps

    @property
    def channels(self) -> int:  # type: ignore[override]
        """See `Maps`."""
        return self.left.channels

    @property
    def density(self) -> float:  # type: ignore[override]
        """As if the sets were independent."""
        return self.left.density * self.right.density

    @property
    def runs(self) -> int:  # type: ignore[override]
        """As if the runs of one set were cut by the other's in the finest way."""
        return max(self.left.runs, self.right.runs)

    @property
    def coins(self) -> int:  # type: ignore[override]
        """See `Maps`."""
        return max(self.left.coins, self.right.coins)

    def bits(self, drawn: Mapping[int, Bits], samples: int) -> Bits:
        """See `Maps`."""
        return self.left.bits(drawn, samples) & self.right.bits(drawn, samples)

    def where(self, known: Callable[[int], bool]) -> Maps:
        """See `Maps`."""
        return both(self.left.where(known), self.right.where(known))


@dataclass(frozen=True)
class Either(Both):
    """What lies in one of the sets at least."""

    @property
    def density(self) -> float:  # type: ignore[override]
        """As if the sets were independent."""
        return 1 - (1 - self.left.density) * (1 - self.right.density)

    def bits(self, drawn: Mapping[int, Bits], samples: int) -> Bits:
        """See `Maps`."""
        return self.left.bits(drawn, samples) | self.right.bits(drawn, samples)

    def where(self, known: Callable[[int], bool]) -> Maps:
        """See `Maps`."""
        return either(self.left.where(known), self.right.where(known))


@dataclass(frozen=True)
class Joined(Maps):
    """Sets side by side along the channels."""

    parts: tuple[Maps, ...]

    @property
    def channels(self) -> int:  # type: ignore[override]
        """See `Maps`."""
        return sum(part.channels for part in self.parts)

    @property
    def density(self) -> float:  # type: ignore[override]
        """See `Maps`."""
        return sum(part.density * part.channels for part in self.parts) / max(1, self.channels)

    @property
    def runs(self) -> int:  # type: ignore[override]
        """See `Maps`."""
        return max(part.runs for part in self.parts)

    @property
    def coins(self) -> int:  # type: ignore[override]
        """See `Maps`."""
        return sum(part.coins for part in self.parts)

    def bits(self, drawn: Mapping[int, Bits], samples: int) -> Bits:
        """See `Maps`."""
        return np.concatenate([part.bits(drawn, samples) for part in self.parts], axis=1)

    def where(self, known: Callable[[int], bool]) -> Maps:
        """See `Maps`."""
        return joined([part.where(known) for part in self.parts])


@dataclass(frozen=True)
class _Of(Maps):
    """A set made from another one, of the same density if nothing else is said."""

    inner: Maps

    @property
    def density(self) -> float:  # type: ignore[override]
        """See `Maps`."""
        return self.inner.density

    @property
    def runs(self) -> int:  # type: ignore[override]
        """See `Maps`."""
        return self.inner.runs

    @property
    def coins(self) -> int:  # type: ignore[override]
        """See `Maps`."""
        return self.inner.coins


@dataclass(frozen=True)
class Part(_Of):
    """The channels from `first` on, `channels` of them."""

    first: int
    channels: int

    def bits(self, drawn: Mapping[int, Bits], samples: int) -> Bits:
        """See `Maps`."""
        return self.inner.bits(drawn, samples)[:, self.first : self.first + self.channels]

    def where(self, known: Callable[[int], bool]) -> Maps:
        """See `Maps`."""
        return part(self.inner.where(known), self.first, self.channels)


@dataclass(frozen=True)
class Repeated(_Of):
    """Each channel `times` times in a row: what a depthwise convolution makes of it."""

    times: int

    @property
    def channels(self) -> int:  # type: ignore[override]
        """See `Maps`."""
        return self.inner.channels * self.times

    def bits(self, drawn: Mapping[int, Bits], samples: int) -> Bits:
        """See `Maps`."""
        return np.repeat(self.inner.bits(drawn, samples), self.times, axis=1)

    def where(self, known: Callable[[int], bool]) -> Maps:
        """See `Maps`."""
        return repeated(self.inner.where(known), self.times)


@dataclass(frozen=True)
class AnyInBlock(_Of):
    """Blocks of `size` channels of which one is in the set at least."""

    size: int

    @property
    def channels(self) -> int:  # type: ignore[override]
        """See `Maps`."""
        return self.inner.channels // self.size

    @property
    def density(self) -> float:  # type: ignore[override]
        """See `Maps`."""
        inside = max(1.0, self.inner.coins * self.size / max(1, self.inner.channels))
        return float(1 - (1 - self.inner.density) ** inside)

    def bits(self, drawn: Mapping[int, Bits], samples: int) -> Bits:
        """See `Maps`."""
        bits = self.inner.bits(drawn, samples)
        return np.asarray(bits.reshape(len(bits), self.channels, self.size).any(axis=2))

    def where(self, known: Callable[[int], bool]) -> Maps:
        """See `Maps`."""
        return any_in_block(self.inner.where(known), self.size)


@dataclass(frozen=True)
class AnySample(_Of):
    """The channels that one sample of the batch has at least, for every sample."""

    @property
    def channels(self) -> int:  # type: ignore[override]
        """See `Maps`."""
        return self.inner.channels

    @property
    def density(self) -> float:  # type: ignore[override]
        """See `Maps`."""
        return float(1 - (1 - self.inner.density) ** self.inner.runs)

    @property
    def runs(self) -> int:  # type: ignore[override]
        """One: all samples have the same."""
        return 1

    def bits(self, drawn: Mapping[int, Bits], samples: int) -> Bits:
        """See `Maps`."""
        bits = self.inner.bits(drawn, samples)
        return np.broadcast_to(bits.any(axis=0), bits.shape)

    def where(self, known: Callable[[int], bool]) -> Maps:
        """See `Maps`."""
        return any_sample(self.inner.where(known))


def both(left: Maps, right: Maps) -> Maps:
    """The intersection, in its shortest form."""
    if type(left) is Whole or left == right:
        return right
    if type(right) is Whole or _within(left, right):
        return left
    return right if _within(right, left) else Both(left, right)


def either(left: Maps, right: Maps) -> Maps:
    """The union, in its shortest form."""
    if type(left) is Whole or left == right or _within(right, left):
        return left
    return right if type(right) is Whole or _within(left, right) else Either(left, right)


def _within(small: Maps, large: Maps) -> bool:
    """Whether `small` is known, from how it was made, to lie in `large`."""
    if small == large:
        return True
    return type(small) is Both and (_within(small.left, large) or _within(small.right, large))


def union(parts: list[Maps]) -> Maps:
    """Of one set or more."""
    return reduce(either, parts)


def joined(parts: list[Maps]) -> Maps:
    """Side by side; whole where all are."""
    if all(type(part) is Whole for part in parts):
        return Whole(sum(part.channels for part in parts))
    flat = [p for part in parts for p in (part.parts if isinstance(part, Joined) else (part,))]
    return flat[0] if len(flat) == 1 else Joined(tuple(flat))


def part(inner: Maps, first: int, channels: int) -> Maps:
    """Some channels; of sets side by side, those that they come from."""
    if (first, channels) == (0, inner.channels):
        return inner
    if type(inner) is Whole:
        return Whole(channels)
    if isinstance(inner, Joined):
        pieces, at = [], 0
        for piece in inner.parts:
            low, high = max(first, at), min(first + channels, at + piece.channels)
            if low < high:
                pieces.append(part(piece, low - at, high - low))
            at += piece.channels
        return joined(pieces)
    return Part(inner, first, channels)


def repeated(inner: Maps, times: int) -> Maps:
    """Each channel `times` times."""
    if times == 1:
        return inner
    return Whole(inner.channels * times) if type(inner) is Whole else Repeated(inner, times)


def any_in_block(inner: Maps, size: int) -> Maps:
    """The blocks of `size` channels that have one in the set."""
    if size == 1:
        return inner
    if isinstance(inner, Repeated) and inner.times == size:
        return inner.inner
    whole = type(inner) is Whole
    return Whole(inner.channels // size) if whole else AnyInBlock(inner, size)


def any_sample(inner: Maps) -> Maps:
    """The channels that some sample has."""
    alike = type(inner) in (Whole, AnySample) or (isinstance(inner, Kept) and inner.runs == 1)
    return inner if alike else AnySample(inner)


def of_equal_count(maps: Maps) -> Maps:
    """A set that contains this one and has as many channels in every sample, known ahead."""
    if isinstance(maps, Kept) and maps.count:
        return maps
    sides = (maps.left, maps.right) if type(maps) is Both else ()
    found = [side for side in map(of_equal_count, sides) if type(side) is not Whole]
    return found[0] if found else Whole(maps.channels)
