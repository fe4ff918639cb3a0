"""Replicas: a batch that a graph computes several times over, each time with other random numbers.

The rows of all replicas are side by side in one array. An operation that draws random numbers is
called for each replica by itself, so that each sees the numbers that it would see alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mapdrop.backends.torch.rows import cat_rows
from mapdrop.torch.graph.drops import Drawn, MapDrop, PatternDrop
from mapdrop.torch.graph.graph import Node, caller
from mapdrop.torch.graph.lattice import Kept


class RandomStates:
    """The states of PyTorch's generators, one for each replica."""

    def __init__(self, devices: Iterable[torch.device] = ()) -> None:
        self._generators = [torch.default_generator]
        for device in devices:
            if device.type == "cuda":
                self._generators.append(torch.cuda.default_generators[device.index])
        self._states: list[list[Tensor]] = []
        self._first: list[Tensor] = []

    @classmethod
    def like(cls, other: RandomStates) -> RandomStates:
        """Return the states of the same generators for other replicas."""
        made = cls()
        made._generators = other._generators
        return made

    def __len__(self) -> int:
        return len(self._states)

    def seed(self, seeds: Sequence[int]) -> None:
        """Begin with a state for each seed, as `torch.manual_seed` sets it."""
        self._states = []
        for seed in seeds:
            for generator in self._generators:
                generator.manual_seed(seed)
            self._states.append(self.now())
        self._first = self._states[-1]

    def differ(self) -> bool:
        """Return whether numbers were drawn since the last replica's seed was set."""
        pairs = zip(self.now(), self._first, strict=True)
        return any(not now.equal(first) for now, first in pairs)

    def now(self) -> list[Tensor]:
        """Return the states that the generators have now."""
        return [generator.get_state() for generator in self._generators]

    def set(self, states: Sequence[Tensor]) -> None:
        """Give the generators other states."""
        for generator, state in zip(self._generators, states, strict=True):
            generator.set_state(state)

    def each(self, call: Callable[[int], Any]) -> list[Any]:
        """Return what a function returns for the number of each replica, drawn from its state."""
        results = []
        for number, state in enumerate(self._states):
            self.set(state)
            results.append(call(number))
            self._states[number] = self.now()
        return results


class Replicated:
    """Calls a node's operation for each replica by itself, with the values of the node's inputs.

    Args:
        node: the call in the graph of one replica.
        states: of the generators.
        axis: the axis along which the result has the rows of all replicas, side by side. None if
            it has no rows: then the result is a tuple of the replicas' results. For an operation
            with several results, a tuple.
        axes: the same of each of the node's inputs.
        shared: which inputs all replicas read as they are.
    """

    __name__ = "replicated"
    node: Node
    states: RandomStates
    axis: Any
    axes: Sequence[int | None]
    shared: Sequence[bool]

    def __init__(
        self,
        node: Node,
        states: RandomStates,
        axis: Any,
        axes: Sequence[int | None],
        shared: Sequence[bool],
    ) -> None:
        self.node, self.states, self.axis = node, states, axis
        self.axes, self.shared = axes, shared
        self._call = caller(node)

    def __call__(self, *values: Any) -> Any:
        """Return the result of all replicas."""
        parts = [self.parts(place, value) for place, value in enumerate(values)]

        def one(number: int) -> Any:
            given = [part[number] for part in parts]
            return self._call(dict(zip(self.node.inputs, given, strict=True)))

        return _joined(self.states.each(one), self.axis)

    def parts(self, place: int, value: Any) -> Sequence[Any]:
        """Return what each replica reads of an input."""
        if self.shared[place]:
            return [value] * len(self.states)
        axis = self.axes[place]
        parts: Sequence[Any] = value if axis is None else value.chunk(len(self.states), axis)
        return parts


def _joined(results: Sequence[Any], axis: Any) -> Any:
    if isinstance(axis, tuple):
        parts = zip(zip(*results, strict=True), axis, strict=True)
        return tuple(_joined(part, a) for part, a in parts)
    if isinstance(axis, int):
        return cat_rows(results, axis)
    return tuple(results)


class ReplicatedDrop(MapDrop):
    """A drop of whole maps, or of whole samples, from the rows of all replicas."""

    drop: MapDrop
    gain: float

    def __init__(self, drop: MapDrop, node: Node) -> None:
        assert isinstance(node.target, Replicated)
        self.drop, self.gain, self._replicated = drop, drop.gain, node.target
        one = self._replicated.node
        self._places = [one.inputs.index(given) for given in drop.given]
        self.given: tuple[Node, ...] = tuple(node.args[place] for place in self._places)
        self._count = node.shape[0] // one.shape[0]

    def kept(self, number: int) -> Kept:
        """See `MapDrop`."""
        kept = self.drop.kept(number)
        runs = kept.runs * self._count
        return Kept(number, kept.channels, kept.density, runs, kept.coins)

    def draw(self, *given: Any) -> Drawn:
        """See `MapDrop`. What is given is that of all replicas, or a tuple of theirs."""
        own = self._own(given)
        each = self._replicated.states.each(lambda number: self.drop.draw(*own[number]))
        bits = np.concatenate([drawn.bits for drawn in each])
        return Drawn(bits, [drawn.source for drawn in each], each[0].gain)

    def apply(self, x: Tensor, drawn: Drawn) -> Tensor:
        """See `MapDrop`."""
        bits = np.split(drawn.bits, len(drawn.source))
        parts = zip(x.chunk(len(bits)), bits, drawn.source, strict=True)
        gain = drawn.gain
        return torch.cat([self.drop.apply(part, Drawn(b, s, gain)) for part, b, s in parts])

    def sample_factors(self, *given: Any) -> Tensor:
        """Return what each row is multiplied by, of a drop of samples."""
        assert isinstance(self.drop, PatternDrop)
        return torch.cat([self.drop.sample_factors(*own) for own in self._own(given)])

    def _own(self, given: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Return what the mask of each replica follows from."""
        parts = [self._replicated.parts(p, v) for p, v in zip(self._places, given, strict=True)]
        return list(zip(*parts, strict=True)) if parts else [()] * len(self._replicated.states)
