"""Calls of single operations, and what the registry's rules find of them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_aggregate
from torch.nn import functional as F  # noqa: N812 - the name everyone knows it by

from mapdrop.torch.graph.analysis import find_facts
from mapdrop.torch.graph.build import build
from mapdrop.torch.graph.facts import DropFacts, Facts
from mapdrop.torch.graph.graph import Graph, Node
from mapdrop.torch.graph.lattice import AllMaps, Bits, Kept, MapSet

N = 4  # Samples.
_LIMITS = {"seed": 99, "numbers": 9, "flags": 2}  # Of arrays of whole numbers.


@dataclass(frozen=True, eq=False)
class Array:
    """An input of a call. A parameter's values are small and positive, as a variance's must be."""

    name: str
    shape: tuple[int, ...]
    is_parameter: bool = False

    def values(self) -> Tensor:
        """Return random values, the same each time."""
        generator = torch.Generator().manual_seed(sum(map(ord, self.name)))
        if self.name in _LIMITS:
            numbers = torch.randint(_LIMITS[self.name], self.shape, generator=generator)
            return numbers.bool() if self.name == "flags" else numbers
        if self.is_parameter:
            return torch.rand(self.shape, dtype=torch.float64, generator=generator) + 0.2
        return torch.randn(self.shape, dtype=torch.float64, generator=generator) * 3

    def __repr__(self) -> str:
        return self.name


@dataclass(frozen=True, eq=False)
class Call:
    """A call of a function, or of a tensor's method, whose arguments may be calls themselves."""

    target: Callable[..., Any] | str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __repr__(self) -> str:
        given = [*map(repr, self.args), *(f"{k}={v!r}" for k, v in self.kwargs.items())]
        return f"{_spelled(self.target)}({', '.join(given)})"

    def value(self, values: Mapping[Array, Tensor]) -> Any:
        """Return the result for some values of the inputs."""
        target = getattr(Tensor, self.target) if isinstance(self.target, str) else self.target

        def of(leaf: Any) -> Any:
            if isinstance(leaf, Call):
                return leaf.value(values)
            return values[leaf] if isinstance(leaf, Array) else leaf

        return target(*map_aggregate(self.args, of), **map_aggregate(self.kwargs, of))

    def add_to(self, graph: fx.Graph, inputs: dict[Array, fx.Node]) -> fx.Node:
        """Add the call to a graph, and to `inputs` what it reads first."""

        def of(leaf: Any) -> Any:
            if isinstance(leaf, Call):
                return leaf.add_to(graph, inputs)
            if isinstance(leaf, Array) and leaf not in inputs:
                kind = "parameters" if leaf.is_parameter else "inputs"
                inputs[leaf] = graph.placeholder(f"l_{kind}_{leaf.name}_")
            return inputs[leaf] if isinstance(leaf, Array) else leaf

        args, kwargs = map_aggregate(self.args, of), map_aggregate(self.kwargs, of)
        if isinstance(self.target, str):
            return graph.call_method(self.target, args, kwargs)
        return graph.call_function(self.target, args, kwargs)


def _spelled(target: Callable[..., Any] | str) -> str:
    if isinstance(target, str):
        return f"Tensor.{target}"
    name = getattr(target, "__name__", str(target))
    homes = {"F": F, "torch": torch, "operator": operator}
    home = next((h for h, space in homes.items() if getattr(space, name, None) is target), "")
    return f"{home}.{name}".lstrip(".")


@dataclass(frozen=True, eq=False)
class Case:
    """A call, and what must be found of it.

    Attributes:
        kind: of facts; None if it needs whole arrays.
        homogeneous: whether a factor can be applied after it.
        draws: whether the call itself draws random numbers.
    """

    call: Call
    kind: type[Facts] | None
    homogeneous: bool = False
    draws: bool = False

    def __str__(self) -> str:
        return str(self.call)

    @cached_property
    def inputs(self) -> dict[Array, Tensor]:
        """The inputs and their values, in the order of the graph's."""
        found: dict[Array, fx.Node] = {}
        self.call.add_to(fx.Graph(), found)
        return {array: array.values() for array in found}

    @cached_property
    def graph(self) -> Graph:
        """The graph of the call, which is its last node."""
        graph, inputs = fx.Graph(), dict[Array, fx.Node]()
        graph.output((self.call.add_to(graph, inputs),))
        return build(fx.GraphModule(nn.Module(), graph), list(self.inputs.values()))

    @property
    def node(self) -> Node:
        """The call as a node of its graph."""
        return self.graph.nodes[-1]

    @cached_property
    def facts(self) -> Any:
        """What the record's rule finds: facts, or None."""
        return find_facts(self.graph, lambda kept: True).get(self.node)

    @cached_property
    def sources(self) -> list[Array]:
        """The inputs that the facts are about, in their order."""
        return [self.array_of(source) for source in self.facts.sources]

    def array_of(self, node: Node) -> Array:
        """Return the input that a node is, or is made of alone."""
        while node.target is not None:
            (node,) = node.inputs
        return list(self.inputs)[self.graph.inputs.index(node)]

    def result(self, changed: Mapping[Array, Tensor] | None = None) -> Tensor:
        """Return the result, by the same random numbers each time."""
        torch.default_generator.manual_seed(0)
        found: Tensor = self.call.value({**self.inputs, **(changed or {})})
        return found

    @cached_property
    def channels(self) -> int:
        """How many maps each sample of the result has."""
        inputs: list[MapSet] = [AllMaps(channels_of(array)) for array in self.sources]
        found: int = self.facts.nonzero(inputs).channels
        return found

    def bits(self, maps: MapSet, drawn: Mapping[int, Bits]) -> Bits:
        """Return the bits of a set that may depend on the call's own drop, which is number 0."""
        own = {}
        if isinstance(self.facts, DropFacts):
            drop = self.facts.drop
            given = [self.inputs[self.array_of(node)] for node in drop.given]
            torch.default_generator.manual_seed(0)
            own = {0: drop.draw(*given).bits}
        return maps.bits({**drawn, **own}, N)

    def live(self, kept: Bits) -> dict[Array, Bits]:
        """Return the maps of each input that are read, given those of the result that are."""
        runs = len(np.unique(kept, axis=0))
        lives = self.facts.live(Kept(1, self.channels, 0.5, runs, self.channels))
        found: dict[Array, Bits] = {}
        for array, maps in zip(self.sources, lives, strict=True):
            bits = self.bits(maps, {1: kept})
            assert bits.shape[1] == channels_of(array)
            found[array] = bits | found[array] if array in found else bits
        return found

    def nonzero(self, inputs: Mapping[Array, Bits]) -> Bits:
        """Return the maps of the result that may be non-zero, given those of the inputs."""
        numbers = {array: 1 + i for i, array in enumerate(inputs)}
        drawn = {numbers[array]: bits for array, bits in inputs.items()}
        given = [
            Kept(numbers[a], channels_of(a), 0.5, N, channels_of(a))
            if a in inputs
            else AllMaps(channels_of(a))
            for a in self.sources
        ]
        return self.bits(self.facts.nonzero(given), drawn)


def channels_of(array: Array) -> int:
    """Return how many maps each sample of an input has."""
    return array.shape[1] if len(array.shape) > 1 else 1


def has_maps(array: Array) -> bool:
    """Return whether an input has maps of its own for each sample."""
    return len(array.shape) > 1 and array.shape[0] == N
