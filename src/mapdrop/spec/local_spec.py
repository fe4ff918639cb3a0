"""The coins that a part of a larger array needs: its own, and no more than the law asks for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from mapdrop.spec.binding import Binding
from mapdrop.spec.law import BlockAxis, Law, needed, strides
from mapdrop.spec.mask_spec import BoundSpec, MaskSpec
from mapdrop.spec.sharding import Shard, local_ranges

Places = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Box:
    """A box in coin space: the coins at every combination of some places of each axis.

    `sizes` are those of the whole coin space; `places` are sorted, each once.
    """

    sizes: tuple[int, ...]
    places: tuple[Places, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """How many places each axis has."""
        return tuple(len(places) for places in self.places)

    def runs(self, along: int | None = None) -> tuple[Places, int]:
        """Return its coins' numbers in order, as runs of consecutive ones: starts and length.

        With `along`, those of the lines along that axis, which are numbered after all coins.
        """
        if along is not None:
            starts, run = self._lines(along).runs()
            return starts + math.prod(self.sizes), run
        steps, axis, run, start = strides(self.sizes), len(self.sizes), 1, 0
        whole = True
        while axis and whole and _consecutive(self.places[axis - 1]):
            axis -= 1
            run *= len(self.places[axis])
            start += int(self.places[axis][0]) * steps[axis]
            whole = len(self.places[axis]) == self.sizes[axis]
        starts = np.full((1,), start, np.int64)
        for places, step in zip(self.places[:axis], steps, strict=False):
            starts = (starts[:, None] + places * step).reshape(-1)
        return starts, run

    def _lines(self, axis: int) -> Box:
        one = (np.zeros(1, np.int64),)
        return Box(
            (*self.sizes[:axis], 1, *self.sizes[axis + 1 :]),
            self.places[:axis] + one + self.places[axis + 1 :],
        )

    def local(self, block: BlockAxis) -> BlockAxis:
        """Return a block axis in the box's own places, which have no gaps there."""
        places = self.places[block.axis]
        low = int(places[0]) if len(places) else 0
        first, last = max(block.first - low, 0), min(block.last - low, len(places) - 1)
        return BlockAxis(block.axis, block.size, len(places), first, last)


@dataclass(frozen=True)
class LocalSpec:
    """A spec bound to a whole array, and what a part of it needs.

    Attributes:
        bound: the spec bound to the whole array.
        box: the coins to draw.
        order: how to transpose the box, `merged` how to reshape it then, and `takes` what to take
            along each of its axes (None: all), to get coins as `binding` has them.
        binding: how those meet the part's values.
    """

    bound: BoundSpec
    box: Box
    order: tuple[int, ...]
    merged: tuple[int, ...]
    takes: tuple[Places | None, ...]
    binding: Binding

    @property
    def law(self) -> Law:
        """The whole array's law."""
        return self.bound.law

    @property
    def scale(self) -> str | None:
        """See `BoundSpec`."""
        return self.bound.scale

    @property
    def most(self) -> int:
        """See `BoundSpec`: of the whole array."""
        return self.bound.most

    @property
    def expected(self) -> float:
        """See `BoundSpec`."""
        return self.bound.expected

    @property
    def counted_axes(self) -> tuple[int, ...] | None:
        """See `BoundSpec`."""
        return self.bound.counted_axes

    @property
    def first(self) -> int | None:
        """The number of its first coin, where its coins are consecutive; None where not."""
        return int(self.starts[0]) if len(self.starts) == 1 else None

    @cached_property
    def starts(self) -> Places:
        """The number of the first coin of each run (see `Box`); none where order differs."""
        in_order = self.order == tuple(range(len(self.order)))
        alike = in_order and all(take is None for take in self.takes)
        return self.box.runs()[0] if alike else np.empty(0, np.int64)


@lru_cache(maxsize=1024)
def bound_locally(
    spec: MaskSpec, shape: tuple[int, ...], shards: tuple[Shard, ...], warn: bool = True
) -> BoundSpec | LocalSpec:
    """Return the spec bound to a shape or, with shards, to a part of that shape."""
    if not shards:
        return spec.bind(shape, warn)
    bound = spec.bind(global_shape(shape, shards), warn)
    return local_spec(bound, shape, _indices(shape, shards))


def bound_to_rows(
    spec: MaskSpec, shape: tuple[int, ...], shards: tuple[Shard, ...], axis: int, rows: Places
) -> LocalSpec:
    """Return the spec bound to some indices of an axis of what `bound_locally` binds it to.

    Args:
        spec: to bind.
        shape, shards: as for `bound_locally`.
        axis: the axis.
        rows: some of its indices, sorted.
    """
    held = _indices(shape, shards)
    held[axis] = held[axis][rows] if axis in held else rows
    part = (*shape[:axis], len(rows), *shape[axis + 1 :])
    return local_spec(spec.bind(global_shape(shape, shards), warn=False), part, held)


def local_spec(bound: BoundSpec, shape: tuple[int, ...], held: Mapping[int, Places]) -> LocalSpec:
    """Return what an array of `shape` needs of the spec bound to a larger one.

    `held` has, for each axis that is larger there, the indices that the array has of it.
    """
    axes = [
        _coordinates(factors, held[a] if a in held else np.arange(n))
        for a, (factors, n) in enumerate(zip(bound.binding.axes, shape, strict=True))
    ]
    own = {coin: np.unique(places) for axis in axes for coin, places in axis.items()}
    places = tuple(_reach(bound, coin, own[coin]) for coin in range(len(own)))
    # The order of the coins, wherever an axis of the array has no more than one of theirs.
    sources = sorted((min(axis), a) for a, axis in enumerate(axes) if axis)
    takes, merged, place = [], [], {}
    for number, (_, a) in enumerate(sources):
        sizes = tuple(len(places[coin]) for coin in axes[a])
        takes.append(_take(axes[a], places, sizes))
        merged.append(math.prod(sizes))
        place[a] = number
    binding = replace(
        bound.binding,
        shape=shape,
        axes=tuple(((n, place.get(a)),) for a, n in enumerate(shape)),
        names=tuple(bound.binding.names[coin] for coin, _ in sources),
        coins=tuple(shape[a] for _, a in sources),
        ragged=None,
    )
    order = tuple(coin for _, a in sources for coin in axes[a])
    box = Box(bound.binding.coins, places)
    return LocalSpec(bound, box, order, tuple(merged), tuple(takes), binding)


def _indices(shape: tuple[int, ...], shards: tuple[Shard, ...]) -> dict[int, Places]:
    held = local_ranges(shards, shape)
    return {axis: found.indices(shape[axis]) for axis, found in held.items()}


def global_shape(shape: tuple[int, ...], shards: tuple[Shard, ...]) -> tuple[int, ...]:
    """The shape of the array of which an array of `shape` is the part."""
    held = local_ranges(shards, shape)
    return tuple(held[a].size if a in held else n for a, n in enumerate(shape))


def _coordinates(factors: tuple[tuple[int, int | None], ...], indices: Places) -> dict[int, Places]:
    """The places on each coin axis of an array axis's indices."""
    found = {}
    for size, coin in reversed(factors):
        # A first factor may be larger than its axis, whose last group is smaller: nothing wraps.
        if coin is not None:
            found[coin] = indices % max(size, 1)
        indices = indices // max(size, 1)
    return dict(reversed(found.items()))


def _reach(bound: BoundSpec, coin: int, own: Places) -> Places:
    """Return the places that must be drawn on a coin axis for the law to decide the part's own."""
    sizes = bound.binding.coins
    if own.size == 0:
        return own
    if coin in (bound.counted_axes or ()):
        return np.arange(sizes[coin])
    places = needed(bound.law, sizes, coin, int(own[0]), int(own[-1]))
    return own if places is None else np.array(places, np.int64)


def _take(
    axis: dict[int, Places], places: tuple[Places, ...], sizes: tuple[int, ...]
) -> Places | None:
    """Where an array axis's coins lie among the merged ones; None where they are all, in order."""
    found = [np.searchsorted(places[coin], own) for coin, own in axis.items()]
    flat = np.ravel_multi_index(found, sizes) if math.prod(sizes) else np.zeros(0, np.int64)
    everything = np.array_equal(flat, np.arange(math.prod(sizes)))
    return None if everything else flat


def _consecutive(places: Places) -> bool:
    return len(places) > 0 and int(places[-1]) - int(places[0]) == len(places) - 1
