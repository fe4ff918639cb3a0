"""Write the graph of several passes at once: the rows of all are side by side in one batch.

From the outputs up it is found where each array has the rows. An operation that works on each row
alone runs for all of them at once; any other runs for each replica by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from mapdrop.backends.torch.rows import cat_rows
from mapdrop.torch.graph.branches import reads_of
from mapdrop.torch.graph.graph import (
    Graph,
    GraphError,
    Node,
    call_by_numbers,
    out_of_place,
    substituted,
)
from mapdrop.torch.graph.registry import record_of
from mapdrop.torch.graph.replicas import RandomStates, Replicated, ReplicatedDrop
from mapdrop.torch.graph.sample_axis import SampleAxis
from mapdrop.torch.graph.sample_drops import SampleDrop, sample_drops
from mapdrop.torch.graph.sample_rules import expanded, reshaped
from mapdrop.torch.predict.split import Split


@dataclass(frozen=True, eq=False)
class Suffix:
    """What varies from pass to pass, as a graph of its own.

    Attributes:
        graph: its inputs are the fixed nodes of a split.
        drops: the drops of whole samples in it.
        outputs: which outputs of the model it has.
        places: where each input has the rows, which are to be repeated; None for one that all
            replicas read.
    """

    graph: Graph
    drops: tuple[SampleDrop, ...]
    outputs: tuple[int, ...]
    places: tuple[SampleAxis | None, ...]

    def inputs(self, fixed: Sequence[Any], passes: int) -> list[Any]:
        """Return the inputs, given the fixed nodes' values."""
        return [
            value if place is None else _repeated(value, place, passes)
            for value, place in zip(fixed, self.places, strict=True)
        ]


def _repeated(value: Tensor, place: SampleAxis, passes: int) -> Tensor:
    """Return an array with its rows several times."""
    axis = place.axis
    if place.before == 1:
        return cat_rows([value] * passes, axis)
    parts: Tensor = value.unflatten(axis, (place.before, 1, -1))
    sizes = list(parts.shape)
    sizes[axis + 1] = passes
    return parts.expand(sizes).flatten(axis, axis + 2)


def as_it_is(split: Split) -> Suffix:
    """Return the suffix of a split, for one pass."""
    graph, _ = _copied(split, split.graph, {})
    return Suffix(graph, sample_drops(graph), split.outputs, (None,) * len(split.fixed))


def replicated(
    split: Split, one: Graph, many: Graph, rows: int, passes: int, states: RandomStates
) -> Suffix:
    """Return the suffix of a split, for several passes at once. Raises GraphError.

    Args:
        split: of the graph of the whole batch.
        one, many: the same graph for one replica, which is the batch or one of its rows, and for
            all.
        rows: of `many`.
        passes: how many times it has the rows of the batch.
        states: the generators' states of the replicas.
    """
    if not len(split.graph.nodes) == len(one.nodes) == len(many.nodes):
        raise GraphError("what it does depends on the size of the batch")
    walk = _Walk(split, one, many, rows)
    walk.up()
    targets = {number: _replicated(walk, number, states) for number in walk.alone}
    graph, nodes = _copied(split, many, targets, walk.live)
    places = tuple(walk.places.get(node.number) for node in split.fixed)
    for node, place in zip(split.fixed, places, strict=True):
        _check_repeats(node, many.nodes[node.number], place, passes)
    return Suffix(graph, _drops(walk, nodes), split.outputs, places)


def _check_repeats(node: Node, repeated: Node, place: SampleAxis | None, passes: int) -> None:
    shape = list(node.shape)
    if place is not None:
        shape[place.axis] *= passes
    if tuple(shape) != repeated.shape:
        raise GraphError(f"nothing says where {node} has the samples")


@dataclass(eq=False)
class _Walk:
    """Where each array has the rows, found from the outputs up.

    Attributes:
        places: by the number of a node; None where its readers take a tuple of replicas' results.
        alone: the numbers of the nodes that are called for each replica by itself, with the place
            of the rows in each of their inputs.
        live: the numbers of the nodes that are read.
    """

    split: Split
    one: Graph
    many: Graph
    rows: int
    places: dict[int, SampleAxis | None] = field(default_factory=dict)
    alone: dict[int, tuple[SampleAxis | None, ...]] = field(default_factory=dict)
    live: set[int] = field(default_factory=set)

    def up(self) -> None:
        """Find the places."""
        self.varying = {node.number for node in self.split.varying}
        self.drawing = {node.number for node in self.split.drawing}
        for node in self.many.returned:
            if node.number in self.varying:
                self._ask(node, self._first_axis(node))
        for node in reversed(self.split.suffix):
            if node.number in self.live:
                self._node(self.many.nodes[node.number])

    def _first_axis(self, node: Node) -> SampleAxis:
        if node.shape[:1] != (self.rows,):
            raise GraphError(f"{node} is returned and does not have the samples in its first axis")
        return SampleAxis(0, self.rows)

    def _ask(self, node: Node, place: SampleAxis | None) -> None:
        number = node.number
        if number in self.live and self.places[number] != place:
            raise GraphError(f"{node} is read with the samples in two places")
        self.live.add(number)
        self.places[number] = place

    def _node(self, node: Node) -> None:
        place = self.places[node.number]
        if node.number not in self.varying:
            return
        reads = self._reads(node, place) or self._reads_alone(node, place)
        for source in node.inputs:
            self._ask(source, reads.get(source.number))

    def _reads(self, node: Node, place: SampleAxis | None) -> dict[int, SampleAxis | None] | None:
        """Return where a node that runs for all rows at once reads them; None if it cannot."""
        # mapdrop's coins belong to places: those of a replica begin anew.
        own = node.number in self.drawing or node.operation == "mapdrop.drop"
        if place is None or own or not self._same_constants(node):
            return None
        found = reads_of(node, place)
        if found is None:
            return None
        reads: dict[int, SampleAxis | None] = {s.number: at for s, at in found.items()}
        varying = {s.number for s in node.inputs if s.number in self.varying}
        return reads if varying <= reads.keys() else None

    def _reads_alone(self, node: Node, place: SampleAxis | None) -> dict[int, SampleAxis | None]:
        """Return where a node that is called for each replica by itself reads the rows."""
        if place is not None and place.before > 1:
            raise GraphError(f"the samples of {node} are not side by side")
        sources = self.one.nodes[node.number].inputs
        reads = {s.number: self._place_by_size(s.number) for s in sources}
        self.alone[node.number] = tuple(reads.values())
        return reads

    def _same_constants(self, node: Node) -> bool:
        """Return whether a call has the arguments of one replica's, but for the shape it makes."""
        record = record_of(node)
        if record is not None and record.samples in (reshaped, expanded):
            return True
        other = self.one.nodes[node.number]
        return bool(call_by_numbers(node) == call_by_numbers(other))

    def _place_by_size(self, number: int) -> SampleAxis | None:
        """Return the axis of an array that is longer for all rows than for one replica."""
        one, many = self.one.nodes[number].value, self.many.nodes[number].value
        axis = _longer_axis(one, many)
        if isinstance(axis, tuple) or (axis is not None and many.shape[axis] % self.rows):
            raise GraphError(f"nothing says where {self.many.nodes[number]} has the samples")
        return (
            None if axis is None else SampleAxis(axis, self.rows, 1, many.shape[axis] // self.rows)
        )


def _longer_axis(one: Any, many: Any, within: bool = False) -> Any:
    """Return the axis along which a result is longer in one graph than in the other.

    None for one of the same shape; for several results, a tuple.
    """
    if isinstance(many, (tuple, list)):
        return tuple(_longer_axis(a, b, True) for a, b in zip(one, many, strict=True))
    if not isinstance(many, Tensor):
        raise GraphError("an operation returns more than arrays")
    axes = [axis for axis, (m, n) in enumerate(zip(one.shape, many.shape, strict=False)) if m != n]
    if one.dim() != many.dim() or len(axes) > 1 or (within and not axes):
        raise GraphError("nothing says where an array has the samples")
    return axes[0] if axes else None


def _replicated(walk: _Walk, number: int, states: RandomStates) -> Replicated:
    one, many = walk.one.nodes[number], walk.many.nodes[number]
    axes = [place.axis if place is not None else None for place in walk.alone[number]]
    shared = [
        axis is None and source.number not in walk.varying
        for axis, source in zip(axes, one.inputs, strict=True)
    ]
    return Replicated(one, states, _longer_axis(one.value, many.value), axes, shared)


def _copied(
    split: Split, graph: Graph, targets: Mapping[int, Replicated], live: set[int] | None = None
) -> tuple[Graph, Mapping[int, Node]]:
    """Return the suffix as a graph of its own, with other targets for some nodes; and its nodes.

    These are by their numbers in the graph that it is a part of.
    """
    nodes: dict[int, Node] = {}
    for source in split.fixed:
        node = graph.nodes[source.number]
        nodes[node.number] = replace(
            node, number=len(nodes), target=None, args=(), kwargs=None, region=0
        )
    inputs = set(nodes)
    for source in split.suffix:
        if live is not None and source.number not in live:
            continue
        node = graph.nodes[source.number]
        call = out_of_place(node) if any(s.number in inputs for s in node.inputs) else node
        target = targets.get(node.number)
        if target is not None:
            args: Any = tuple(nodes[s.number] for s in target.node.inputs)
            call = replace(node, target=target, args=args, kwargs={})
        else:
            args, kwargs = substituted((call.args, call.kwargs or {}), lambda n: nodes[n.number])
            call = replace(call, args=args, kwargs=kwargs)
        nodes[node.number] = replace(call, number=len(nodes))
    outputs = tuple(nodes[graph.outputs[i].number] for i in split.outputs)
    return Graph(tuple(nodes.values()), outputs), nodes


def _drops(walk: _Walk, nodes: Mapping[int, Node]) -> tuple[SampleDrop, ...]:
    """Return the drops of whole samples, as they are in the graph of all rows."""
    found: list[SampleDrop] = []
    for drop in sample_drops(walk.one):
        needed = {drop.node, drop.source, *drop.given, *drop.drawn}
        if any(node.number not in nodes for node in needed):
            continue
        made = _drop(drop, nodes, walk, len(found))
        if made is not None:
            found.append(made)
    return tuple(found)


def _drop(
    drop: SampleDrop, nodes: Mapping[int, Node], walk: _Walk, number: int
) -> SampleDrop | None:
    node = nodes[drop.node.number]
    if (drop.drop is not None) != isinstance(node.target, Replicated):
        return None  # A product with a number for each replica.
    own: Any = drop.drop and ReplicatedDrop(drop.drop, node)
    samples = node.shape[drop.at.axis]
    return SampleDrop(
        number,
        node,
        nodes[drop.source.number],
        replace(drop.at, samples=samples),
        tuple(nodes[given.number] for given in drop.given),
        own,
        drop.kept,
        tuple(nodes[n.number] for n in drop.drawn),
        None if drop.most is None else drop.most * (samples // drop.at.samples),
    )
