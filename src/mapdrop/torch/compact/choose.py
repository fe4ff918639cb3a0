"""Choose what to skip: one decision for each side of a convolution, by the cost model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from math import fsum

from mapdrop.torch.compact.cost_model import Costs, Workload
from mapdrop.torch.compact.packed.registry import PACKED
from mapdrop.torch.graph.analysis import Analysis
from mapdrop.torch.graph.facts import ChannelMixing
from mapdrop.torch.graph.graph import Node
from mapdrop.torch.graph.lattice import AllMaps, MapSet

_Side = tuple[Node, str]  # Of a convolution: what it "reads" or what it "makes".


@dataclass(frozen=True)
class Decision:
    """What one convolution or Linear could skip, and what it does skip.

    Attributes:
        facts, work: of the operation.
        reads, makes: the maps that it would read and compute if it skipped.
        skip_reads, skip_makes: whether it does.
    """

    node: Node
    facts: ChannelMixing
    work: Workload
    reads: MapSet
    makes: MapSet
    skip_reads: bool = False
    skip_makes: bool = False

    @property
    def skips(self) -> bool:
        """Whether anything is skipped."""
        return self.skip_reads or self.skip_makes

    def seconds(self, costs: Costs) -> float:
        """Predict the seconds per step as decided."""
        work = self.work
        return costs.seconds(
            work,
            self.reads if self.skip_reads else AllMaps(work.inputs),
            self.makes if self.skip_makes else AllMaps(work.outputs),
        )

    def dense_seconds(self, costs: Costs) -> float:
        """Predict the seconds per step with nothing skipped."""
        every = AllMaps(self.work.inputs), AllMaps(self.work.outputs)
        return costs.seconds(self.work, *every)


@dataclass(frozen=True)
class Choice:
    """All decisions, and what follows from them.

    Attributes:
        costs: the constants that they are based on.
        decisions: one for each convolution and Linear.
        packed: the nodes that are stored packed.
        reads_packed: the convolutions that read packed arrays.
        saves_too_little: whether some would have skipped, had it saved more of the model's step.
    """

    costs: Costs
    decisions: tuple[Decision, ...]
    packed: frozenset[Node]
    reads_packed: frozenset[Node]
    saves_too_little: bool


def choose(analysis: Analysis, costs: Costs, static: bool = False) -> Choice:
    """Decide what to skip: begin with everything and flip decisions while that helps.

    Args:
        analysis: of the graph.
        costs: the constants to choose by.
        static: whether masks stay on a device, so that mapdrop's own kernels cannot read them.
    """
    dense, search = _Search(analysis, costs, static), _Search(analysis, costs, static)
    sides = [
        (decision.node, side)
        for decision in search.decisions.values()
        for side, maps in (("reads", decision.reads), ("makes", decision.makes))
        if analysis.drops and not isinstance(maps, AllMaps)
    ]
    for side in sides:
        search.flip(side)
    flipped = sides
    while flipped:
        flipped = [side for side in sides if search.improve(side)]
    before, after = fsum(dense.seconds(analysis.facts)), fsum(search.seconds(analysis.facts))
    too_little = before - after < costs.least * before
    return (dense if too_little else search).choice(too_little and after < before)


@dataclass
class _Group:
    """Neighbouring nodes that are packed together, while at least one side that skips uses them."""

    members: list[Node]
    uses: int = 0


class _Search:
    """The sides that skip, at first none, and the price of that."""

    def __init__(self, analysis: Analysis, costs: Costs, static: bool) -> None:
        self.analysis, self.costs = analysis, costs
        needed = analysis.needed
        self.skipping: set[_Side] = set()
        self.decisions = {
            node: Decision(
                node,
                facts,
                Workload.of(node, facts, static),
                needed[facts.sources[0]],
                needed[node],
            )
            for node, facts in analysis.facts.items()
            if isinstance(facts, ChannelMixing)
        }
        self.groups = _groups(analysis)
        self.readers: dict[Node, list[Node]] = defaultdict(list)
        for node, facts in analysis.facts.items():
            for source in facts.sources:
                self.readers[source].append(node)

    def flip(self, side: _Side) -> None:
        """Let a side skip, or no longer skip."""
        self.skipping ^= {side}
        group = self._group(side)
        if group is not None:
            group.uses += 1 if side in self.skipping else -1

    def improve(self, side: _Side) -> bool:
        """Flip a side if that lowers the price; return whether it did."""
        touched, group = {side[0]}, self._group(side)
        if group is not None and group.uses == (side in self.skipping):  # No other side uses it.
            touched.update(group.members)
        before = [-seconds for seconds in self.seconds(touched)]
        self.flip(side)
        if fsum([*before, *self.seconds(touched)]) < 0:  # Its sign is exact: a tie is no gain.
            return True
        self.flip(side)
        return False

    def choice(self, saves_too_little: bool) -> Choice:
        """Return what follows from the sides that skip."""
        decisions = tuple(map(self._decision, self.decisions))
        packed = frozenset(filter(self._is_packed, self.analysis.facts))
        reads_packed = frozenset(d.node for d in decisions if d.skip_reads)
        return Choice(self.costs, decisions, packed, reads_packed, saves_too_little)

    def seconds(self, nodes: Collection[Node]) -> Iterator[float]:
        """Predict what nodes cost, and packing or unpacking what they read and make, each apart.

        A convolution that skips is charged the margin on top.
        """
        for node in nodes:
            if node in self.decisions:
                decision = self._decision(node)
                yield decision.seconds(self.costs)
                if decision.skips:
                    yield self.costs.margin * decision.dense_seconds(self.costs)
            else:
                packed, facts = self._is_packed(node), self.analysis.facts[node]
                if PACKED[type(facts)].copies if packed else facts.copies:
                    yield self._copy_seconds(node, packed)
        known = self.analysis.facts
        for source in {one for node in nodes for one in (node, *known[node].sources)}:
            packed = self._is_packed(source)
            if any(self._reads_packed(reader) != packed for reader in self.readers[source]):
                density = self.analysis.needed[source].density
                yield self.costs.packing_seconds(source.shape, density)

    def _copy_seconds(self, node: Node, packed: bool) -> float:
        share = self.analysis.needed[node].density if packed else 1.0
        return self.costs.copy_seconds(node.shape, share)

    def _decision(self, node: Node) -> Decision:
        reads, makes = (node, "reads") in self.skipping, (node, "makes") in self.skipping
        return replace(self.decisions[node], skip_reads=reads, skip_makes=makes)

    def _group(self, side: _Side) -> _Group | None:
        """Return the group that a side uses if it skips; None for nodes that cannot be packed."""
        node, what = side
        return self.groups.get(node if what == "makes" else self.decisions[node].facts.sources[0])

    def _is_packed(self, node: Node) -> bool:
        used = node in self.groups and self.groups[node].uses > 0
        return used and (node not in self.decisions or (node, "makes") in self.skipping)

    def _reads_packed(self, node: Node) -> bool:
        return (node, "reads") in self.skipping if node in self.decisions else self._is_packed(node)


def _groups(analysis: Analysis) -> dict[Node, _Group]:
    """Join neighbouring nodes of which all are packed, or none."""
    groups: dict[Node, _Group] = {}
    for node, facts in analysis.facts.items():
        if isinstance(analysis.needed[node], AllMaps):
            continue
        groups[node] = _Group([node])
        for source in () if isinstance(facts, ChannelMixing) else facts.sources:
            if source in groups and groups[source] is not groups[node]:
                pair = groups[source], groups[node]
                small, large = sorted(pair, key=lambda group: len(group.members))
                large.members += small.members
                groups.update(dict.fromkeys(small.members, large))
    return groups
