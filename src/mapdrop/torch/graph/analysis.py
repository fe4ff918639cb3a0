"""The analysis of a graph: its facts, its drops, and which maps have to exist.

Non-zero maps follow from the inputs down, live maps from the outputs up. A map has to exist if it
may be non-zero and is live.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, reduce

from mapdrop.torch.graph.branches import Branches, find_branches
from mapdrop.torch.graph.dataflow import backward, forward
from mapdrop.torch.graph.draws import Draw, draws_of
from mapdrop.torch.graph.drops import MapDrop
from mapdrop.torch.graph.facts import ChannelMixing, DropFacts, Facts
from mapdrop.torch.graph.graph import Graph, Node
from mapdrop.torch.graph.lattice import AllMaps, Kept, MapSet, intersection, union
from mapdrop.torch.graph.registry import record_of

_NEARLY_ALL = 0.97  # A set with a higher density counts as all maps.


@dataclass(frozen=True, eq=False)
class Analysis:
    """What is known of a graph before anything is decided.

    Attributes:
        graph: the graph.
        facts: of the nodes that need not read everything.
        needed: for each array, the maps that have to exist.
        branches: what runs for some samples.
    """

    graph: Graph
    facts: Mapping[Node, Facts]
    needed: Mapping[Node, MapSet]
    branches: Branches

    @cached_property
    def drops(self) -> tuple[tuple[Node, DropFacts], ...]:
        """The drops of whole maps, in order."""
        return tuple((n, f) for n, f in self.facts.items() if isinstance(f, DropFacts))

    @cached_property
    def samples(self) -> int:
        """The batch size; 0 without drops."""
        return self.drops[0][0].shape[0] if self.drops else 0

    @cached_property
    def draws(self) -> tuple[Draw, ...]:
        """What is drawn ahead, in order."""
        return draws_of(self.facts, self.branches)


def analyse(
    graph: Graph,
    accept: Callable[[Kept], bool] = lambda kept: True,
    branches: Branches | None = None,
) -> Analysis:
    """Return the analysis of a graph.

    Args:
        graph: to analyse.
        accept: which drops of maps count; the others stay as they are.
        branches: what runs for some samples; None for nothing. Their drops are none of maps.
    """
    branches = branches or find_branches(graph, ())
    facts = find_facts(graph, accept, branches)
    tops = _Maps(facts)
    drawn = draws_of(facts, branches)
    positions = {d.what.kept.number: d.after for d in drawn if isinstance(d.what, DropFacts)}
    nonzero: dict[Node, MapSet] = forward(
        graph, facts, lambda known, inputs: known.nonzero(inputs), tops.top
    )

    def join(node: Node, reads: list[MapSet]) -> MapSet:
        def is_drawn(number: int) -> bool:
            return positions[number] < node.number

        return _rounded(reduce(union, reads).from_known(is_drawn))

    def transfer(known: Facts, output: MapSet) -> list[MapSet]:
        return [_rounded(maps) for maps in known.live(output)]

    live: dict[Node, MapSet] = backward(graph, facts, transfer, join, tops.top)
    needed = {node: _rounded(intersection(nonzero[node], live[node])) for node in nonzero}
    return Analysis(graph, facts, needed, branches)


def find_facts(
    graph: Graph, accept: Callable[[Kept], bool], branches: Branches | None = None
) -> dict[Node, Facts]:
    """Return the facts of the nodes that have any. Drops are numbered in order.

    A drop of another batch size than the first one's has none, nor has a drop of samples. What runs
    for samples that are not alone in the first axis has none either: maps belong to that axis.
    """
    dropped, folded = (branches.dropped, branches.folded) if branches else ((), ())
    facts: dict[Node, Facts] = {}
    maps, drops = _Maps(facts), 0
    samples = None
    for node in graph.nodes:
        record = record_of(node)
        if record is None or not node.is_array or node.region or node in dropped:
            continue
        known = record.rule(node, record, maps)
        if isinstance(known, MapDrop):
            kept, samples = known.kept(drops), samples or node.shape[0]
            if node.shape[0] != samples or not accept(kept):
                continue
            known = DropFacts(sources=node.args[:1], homogeneous=True, drop=known, kept=kept)
            drops += 1
        if known is not None and (node not in folded or isinstance(known, DropFacts)):
            facts[node] = known
    return facts


class _Maps:
    """How many maps a node's result has, each of how many features, by the facts so far."""

    def __init__(self, facts: Mapping[Node, Facts]) -> None:
        self.facts = facts

    def __call__(self, node: Node) -> tuple[int, int]:
        shape, known = node.shape, self.facts.get(node)
        channels = shape[1] if len(shape) > 1 else 1
        if len(shape) != 2 or known is None or isinstance(known, ChannelMixing):
            return channels, 1
        (source, *_) = known.sources
        maps = self(source)[0]
        return maps, channels // maps if maps else 1

    def top(self, node: Node) -> MapSet:
        """Return all maps of a node."""
        return AllMaps(self(node)[0])


def _rounded(maps: MapSet) -> MapSet:
    return AllMaps(maps.channels) if maps.density > _NEARLY_ALL else maps
