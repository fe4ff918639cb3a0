"""The chain of operations that a drop stands in, and the places in it where it could stand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from mapdrop.torch.compact.products import products
from mapdrop.torch.graph.analysis import find_facts
from mapdrop.torch.graph.branches import reads_of
from mapdrop.torch.graph.facts import DropFacts, Facts
from mapdrop.torch.graph.graph import Graph, Node
from mapdrop.torch.graph.registry import may_draw, record_of
from mapdrop.torch.graph.sample_axis import SampleAxis
from mapdrop.torch.graph.sample_drops import sample_drops

_FAR = 2  # So many convolutions, Linear layers and products away a place is near enough.


@dataclass(frozen=True)
class Spot:
    """A place behind a node.

    Attributes:
        steps: how many operations it is behind the drop; before it, if that is negative.
        crossed: how many convolutions, Linear layers and products are between.
        node: what the drop would stand behind.
    """

    steps: int
    crossed: int
    node: Node


class Chains:
    """The chains of a graph: each operation has one source, and nobody else reads that.

    Attributes:
        drops: the drops of maps and of samples, and what each drops from.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.facts: dict[Node, Facts] = find_facts(graph, lambda kept: True)
        self._of_samples = {drop.node: drop.source for drop in sample_drops(graph)}
        of_maps = {n: f.sources[0] for n, f in self.facts.items() if isinstance(f, DropFacts)}
        self.drops: dict[Node, Node] = of_maps | self._of_samples

    def spots(self, drop: Node) -> list[Spot]:
        """Return the other places along its chain where a drop would still mean the same.

        They are between products. None is directly before BatchNorm, which would learn another
        variance than it has in eval mode, and none between the same products as another drop.
        """
        of_samples = drop in self._of_samples
        found = [*self._along(self._down(drop), 1)]
        if not of_samples:  # A branch that goes on behind its drop is not zero for a sample.
            found += self._along(self._up(self.drops[drop]), -1)
        ahead = self._before_a_sum if of_samples else self._before_a_product
        return [
            spot
            for spot in found
            if spot.node in ahead
            and spot.node in self._behind_a_product
            and not self._is_before_batch_norm(spot.node)
        ]

    def _along(self, walk: Iterator[tuple[Node, bool]], sign: int) -> list[Spot]:
        """Return the places of a walk, as far as they are near, and no other drop is beside them.

        The walk has each node with whether a product lies before it.
        """
        found: list[Spot] = []
        crossed = 0
        for steps, (node, crosses) in enumerate(walk, 1):
            crossed += crosses
            if crossed > _FAR:
                break
            if self._drops(node):
                return [spot for spot in found if spot.crossed < crossed or not crossed]
            found.append(Spot(sign * steps, crossed, node))
        return found

    def _down(self, node: Node) -> Iterator[tuple[Node, bool]]:
        users = self.graph.users
        while len(users[node]) == 1 and self._source(users[node][0]) is node:
            (node,) = users[node]
            if node in self.graph.returned or not self._keeps_axes(node):
                return
            yield node, products(node) > 0

    def _up(self, node: Node) -> Iterator[tuple[Node, bool]]:
        users = self.graph.users
        while len(users[node]) == 1 and self._keeps_axes(node):
            crosses, source = products(node) > 0, self._source(node)
            if source is None or source.target is None or len(users[source]) > 1:
                return
            node = source
            yield node, crosses

    def _source(self, node: Node) -> Node | None:
        """Return the one array that a node reads besides parameters; None if there are more."""
        known = self.facts.get(node)
        read = node.tensors if known is None else known.sources
        arrays = [source for source in read if not source.is_parameter]
        return arrays[0] if len(arrays) == 1 and node.is_array and not node.region else None

    def _keeps_axes(self, node: Node) -> bool:
        """Return whether samples and maps of a node are in the axes where its source has them."""
        source = self._source(node)
        if source is None or len(node.shape) != len(source.shape) or len(node.shape) < 2:
            return False
        if node in self.facts or node.shape[0] != source.shape[0]:
            return node.shape[0] == source.shape[0]
        if record_of(node) is None:
            return False
        places = [SampleAxis(axis, node.shape[axis]) for axis in (0, 1)]
        reads = [reads_of(node, place) for place in places]
        return all(r is None or r.get(source) == p for r, p in zip(reads, places, strict=True))

    def _drops(self, node: Node) -> bool:
        """Return whether a node is a drop, of whatever."""
        own = node in self.drops or node.operation == "mapdrop.drop"
        return own or may_draw(node, node in self.facts)

    def _is_before_batch_norm(self, node: Node) -> bool:
        """Return whether BatchNorm comes before the next product: directly, or in a few steps."""
        ahead = [node]
        while ahead:
            for user in self.graph.users[ahead.pop()]:
                if user.operation == "batch_norm":
                    return True
                passes = self._source(user) is not None or user.operation == "cat"
                if passes and not products(user):
                    ahead.append(user)
        return False

    @cached_property
    def _behind_a_product(self) -> frozenset[Node]:
        """The nodes that follow from products: what comes before is the input."""
        found: set[Node] = set()
        for node in self.graph.nodes:
            if products(node) or not found.isdisjoint(node.inputs):
                found.add(node)
        return frozenset(found)

    @cached_property
    def _before_a_product(self) -> frozenset[Node]:
        """The nodes from which products follow: what comes after is the output."""
        return self._leading_to(frozenset(n for n in self.graph.nodes if products(n)))

    @cached_property
    def _before_a_sum(self) -> frozenset[Node]:
        """The nodes from which products follow, or which are added to something."""
        behind = self._behind_a_product
        sums = (
            node
            for node in self.graph.nodes
            if node.operation == "add" and len(behind.intersection(node.inputs)) > 1
        )
        return self._leading_to(frozenset(sums)) | self._before_a_product

    def _leading_to(self, ends: frozenset[Node]) -> frozenset[Node]:
        found: set[Node] = set()
        for node in reversed(self.graph.nodes):
            if any(user in found or user in ends for user in self.graph.users[node]):
                found.add(node)
        return frozenset(found)
