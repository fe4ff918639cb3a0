"""Choose what to skip: one decision for each side of a convolution, by the cost model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import fx

from mapdrop.torch.compact.cost_model import Costs
from mapdrop.torch.compact.dataflow import Dataflow
from mapdrop.torch.compact.lattice import AllMaps, MapSet
from mapdrop.torch.compact.ops.linear import ChannelMixing


@dataclass
class Decision:
    """What one convolution or Linear could skip, and what it does skip.

    Attributes:
        reads, makes: the maps that it would read and compute if it skipped.
        skip_reads, skip_makes: whether it does.
    """

    node: fx.Node
    op: ChannelMixing
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
        work = self.op.workload
        return costs.seconds(
            work,
            self.reads if self.skip_reads else AllMaps(work.inputs),
            self.makes if self.skip_makes else AllMaps(work.outputs),
        )

    def dense_seconds(self, costs: Costs) -> float:
        """Predict the seconds per step with nothing skipped."""
        work = self.op.workload
        return costs.seconds(work, AllMaps(work.inputs), AllMaps(work.outputs))


@dataclass
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
    decisions: list[Decision]
    packed: set[fx.Node] = field(default_factory=set)
    reads_packed: set[fx.Node] = field(default_factory=set)
    saves_too_little: bool = False


def choose(flow: Dataflow, costs: Costs) -> Choice:
    """Decide what to skip: begin with everything and flip decisions while that helps."""
    chooser = _Chooser(flow, costs)
    decisions = chooser.decisions
    flips = [
        flip
        for decision in decisions
        for flip, maps in (
            (_flip_reads(decision), decision.reads),
            (_flip_makes(decision), decision.makes),
        )
        if not isinstance(maps, AllMaps) and flow.drops
    ]
    dense = chooser.seconds()
    for flip in flips:
        flip()
    total = chooser.seconds()
    improved = True
    while improved:
        improved = False
        for flip in flips:
            flip()
            other = chooser.seconds()
            if other < total:
                total, improved = other, True
            else:
                flip()
    too_little = dense - total < costs.least * dense
    if too_little:
        for decision in decisions:
            decision.skip_reads = decision.skip_makes = False
    choice = chooser.choice()
    choice.saves_too_little = too_little and total < dense
    return choice


def _flip_reads(decision: Decision) -> Callable[[], None]:
    def flip() -> None:
        decision.skip_reads = not decision.skip_reads

    return flip


def _flip_makes(decision: Decision) -> Callable[[], None]:
    def flip() -> None:
        decision.skip_makes = not decision.skip_makes

    return flip


class _Chooser:
    """The decisions of a graph, all dense at first, and the price of what they are."""

    def __init__(self, flow: Dataflow, costs: Costs) -> None:
        self.flow, self.costs = flow, costs
        self.decisions = [
            Decision(node, op, flow.needed[op.sources[0]], flow.needed[node])
            for node, op in flow.ops.items()
            if isinstance(op, ChannelMixing)
        ]
        self.groups = self._groups()

    def choice(self) -> Choice:
        """Return what follows from the present decisions."""
        used = self._used_groups()
        dense = {d.node for d in self.decisions if not d.skip_makes}
        packed = {
            node for node, group in self.groups.items() if group in used and node not in dense
        }
        reads_packed = {d.node for d in self.decisions if d.skip_reads}
        return Choice(self.costs, self.decisions, packed, reads_packed)

    def _used_groups(self) -> set[int]:
        """Return the groups of nodes that some convolution uses packed."""
        used: set[int] = set()
        for decision in self.decisions:
            source = decision.op.sources[0]
            if decision.skip_makes and decision.node in self.groups:
                used.add(self.groups[decision.node])
            if decision.skip_reads and source in self.groups:
                used.add(self.groups[source])
        return used

    def _groups(self) -> dict[fx.Node, int]:
        """Number the groups of neighbouring nodes of which all are packed, or none."""
        group: dict[fx.Node, int] = {}
        for node, op in self.flow.ops.items():
            if isinstance(self.flow.needed[node], AllMaps):
                continue
            group[node] = len(group)
            if isinstance(op, ChannelMixing):
                continue
            for source in op.sources:
                if source in group:
                    old, new = group[source], group[node]
                    group = {n: new if g == old else g for n, g in group.items()}
        return group

    def seconds(self) -> float:
        """Predict a step: the convolutions, what lies between them, packing and unpacking.

        A convolution that skips is charged the margin on top.
        """
        choice, costs, needed = self.choice(), self.costs, self.flow.needed
        total = sum(decision.seconds(costs) for decision in self.decisions)
        skipping = [decision for decision in self.decisions if decision.skips]
        total += costs.margin * sum(decision.dense_seconds(costs) for decision in skipping)
        for node, op in self.flow.ops.items():
            packed = node in choice.packed
            if not isinstance(op, ChannelMixing):
                share = needed[node].density if packed else 1.0
                total += costs.copy_seconds(tuple(node.meta["val"].shape), share)
            reads_packed = node in choice.reads_packed if isinstance(op, ChannelMixing) else packed
            for source in op.sources:
                if reads_packed != (source in choice.packed):
                    shape = tuple(source.meta["val"].shape)
                    total += costs.copy_seconds(shape, needed[source].density)
        return total
