"""Branches: what leads only into a drop of whole samples, and is needed for the kept ones only.

The needed samples follow from the outputs up. An operation that works on each sample alone runs for
the samples that are needed of its result; any other runs for all, and so does what it reads. After
a drop only the kept samples are not zero, up to where others are added to them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from mapdrop.torch.graph.graph import Graph, Node
from mapdrop.torch.graph.registry import record_of
from mapdrop.torch.graph.sample_axis import SampleAxis, Samples, union
from mapdrop.torch.graph.sample_drops import SampleDrop
from mapdrop.torch.graph.sample_rules import Reads


@dataclass(frozen=True, eq=False)
class Branches:
    """What need not run for all samples.

    Attributes:
        graph: the graph.
        drops: the drops of whole samples that count.
        needed: of the nodes that do not run for all samples, which they run for.
        reads: of these nodes, where each input has the samples; inputs without are read whole.
        zero: the nodes that are zero but for the samples that are needed of them.
        obstacles: the nodes of which some samples are needed, but in which samples may meet.
    """

    graph: Graph
    drops: tuple[SampleDrop, ...]
    needed: Mapping[Node, Samples]
    reads: Mapping[Node, Reads]
    zero: Collection[Node]
    obstacles: Mapping[Node, Samples]

    @cached_property
    def dropped(self) -> Mapping[Node, SampleDrop]:
        """The drops by their nodes."""
        return {drop.node: drop for drop in self.drops}

    @cached_property
    def folded(self) -> frozenset[Node]:
        """The nodes that run for some samples which are not alone in the first axis."""
        return frozenset(n for n, s in self.needed.items() if s.at != SampleAxis(0, s.at.samples))

    @cached_property
    def first(self) -> Mapping[SampleDrop, int]:
        """The number of the first node that runs for the samples that each drop keeps."""
        return {
            drop: min(n.number for n, s in self.needed.items() if drop.number in s.drops)
            for drop in self.drops
        }

    @cached_property
    def nodes(self) -> Mapping[SampleDrop, tuple[Node, ...]]:
        """The nodes that run for samples that each drop keeps, in order, without the drop."""
        found: dict[int, list[Node]] = {drop.number: [] for drop in self.drops}
        for node, samples in self.needed.items():
            for number in samples.drops if node not in self.zero else ():
                found[number].append(node)
        return {d: tuple(sorted(found[d.number], key=lambda n: n.number)) for d in self.drops}


def find_branches(graph: Graph, drops: Iterable[SampleDrop]) -> Branches:
    """Return what leads only into some drops of whole samples."""
    given = tuple(drops)
    walk = _Walk(graph, {drop.node: drop for drop in given})
    walk.up()
    walk.down()
    return Branches(graph, given, walk.needed, walk.reads, walk.zero, walk.obstacles)


class _Walk:
    """The samples needed of each node, found from the outputs up; then what is zero besides."""

    def __init__(self, graph: Graph, drops: Mapping[Node, SampleDrop]) -> None:
        self.graph, self.drops = graph, drops
        self.needed: dict[Node, Samples] = {}
        self.reads: dict[Node, Reads] = {}
        self.zero: set[Node] = set(drops)
        self.obstacles: dict[Node, Samples] = {}

    def up(self) -> None:
        """Find which samples are read of each node."""
        asked: dict[Node, list[Samples | None]] = {node: [] for node in self.graph.nodes}
        for node in reversed(self.graph.nodes):
            whole = node in self.graph.returned
            samples, reads = self._of(node, None if whole else union(asked[node]))
            self._note(node, samples, reads)
            for source in node.inputs:
                at = reads.get(source)
                asked[source].append(replace(samples, at=at) if samples and at else None)
        for node in self.graph.nodes:  # The parts of a tuple have the samples that it has.
            (source, *_) = node.inputs or (node,)
            if node.operation == "getitem" and not source.is_array:
                samples = self.needed.get(source)
                self._note(node, samples, {source: samples.at} if samples else {})

    def _note(self, node: Node, samples: Samples | None, reads: Reads) -> None:
        self.needed.pop(node, None)
        if samples is not None:
            self.needed[node], self.reads[node] = samples, reads

    def _of(self, node: Node, samples: Samples | None) -> tuple[Samples | None, Reads]:
        """Return the samples that a node runs for, and where it reads them."""
        drop = self.drops.get(node)
        if drop is not None:
            outer = samples.drops if samples is not None and samples.at == drop.at else frozenset()
            return Samples(outer | {drop.number}, drop.at), {drop.source: drop.at}
        if samples is None:
            return None, {}
        reads = None if node.region else reads_of(node, samples.at)
        if reads is None:
            self.obstacles |= {node: samples} if node.tensors else {}
            return None, {}
        return samples, reads

    def down(self) -> None:
        """Find what follows from drops alone, so that it is zero where they are."""
        for node in self.graph.nodes:
            found = self._zero_besides(node)
            if found is not None:
                self.zero.add(node)
                self._note(node, *found)

    def _zero_besides(self, node: Node) -> tuple[Samples, Reads] | None:
        record = record_of(node)
        sources = [source for source in node.inputs if source in self.zero]
        if record is None or not record.keeps_zeros or len(sources) != 1 or node.region:
            return None
        (source,) = sources
        before, now = self.needed[source], self.needed.get(node)
        for at in _places(node.shape, before.at):
            reads = reads_of(node, at)
            if reads is not None and reads.get(source) == before.at:
                outer = now.drops if now is not None and now.at == at else frozenset()
                return Samples(before.drops | outer, at), reads
        return None


def reads_of(node: Node, at: SampleAxis) -> Reads | None:
    """Return where a call reads the samples that its result has at a place; None if they meet."""
    record = record_of(node)
    if record is None or record.samples is None:
        return None
    return record.samples(node, at)


def _places(shape: Sequence[int], at: SampleAxis) -> Iterator[SampleAxis]:
    """Return every place where an array may have its samples."""
    for axis, size in enumerate(shape):
        others = size // at.samples if at.samples and size % at.samples == 0 else 0
        for before in range(1, others + 1):
            if others % before == 0:
                yield SampleAxis(axis, at.samples, before, others // before)
