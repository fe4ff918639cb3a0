"""Where compact would skip more: each drop is moved along its chain, and the plan made again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import fsum

from mapdrop.torch.audit.chain import Chains, Spot
from mapdrop.torch.audit.places import shown
from mapdrop.torch.audit.report import AuditedDrop, BetterPlace
from mapdrop.torch.compact.counted import counted
from mapdrop.torch.compact.schedule import Plan, plan
from mapdrop.torch.graph.graph import Node
from mapdrop.torch.graph.moved import Move, moved

_LEAST = 0.05  # A place is better if compact skips so much more of all multiplications.


@dataclass(frozen=True, eq=False)
class _Placed:
    """A drop of one captured graph: the number of the graph, its line in the report, its node."""

    graph: int
    audited: AuditedDrop
    node: Node


def better_places(plans: Sequence[Plan], audited: Sequence[AuditedDrop]) -> tuple[BetterPlace, ...]:
    """Return the places where compact would skip clearly more than where a drop stands.

    Drops that one call in the code makes, as those of all blocks of a model, move together.

    Args:
        plans: of the captured graphs of a step.
        audited: the drops of the report.
    """
    search = _Search(plans)
    groups: dict[object, list[_Placed]] = defaultdict(list)
    for number, chains in enumerate(search.chains):
        for node in chains.drops:
            drop = _audited(node, audited)
            if drop is not None:
                attribute = "" if drop.functional else drop.name.rpartition(".")[2]
                at = drop.where, drop.kind, attribute
                groups[at].append(_Placed(number, drop, node))
    return tuple(found for group in groups.values() if (found := search.better(group)) is not None)


def _audited(node: Node, drops: Iterable[AuditedDrop]) -> AuditedDrop | None:
    """Return the line of the report that a node has."""
    name = node.name if node.layer else ""
    alike = [drop for drop in drops if drop.name == name and drop.shape == node.shape]
    here = [drop for drop in alike if drop.where == _line(node)]
    return next(iter(here or alike), None)


class _Search:
    """Moves drops in the graphs of a step."""

    def __init__(self, plans: Sequence[Plan]) -> None:
        self.plans = plans
        self.chains = [Chains(plan.analysis.graph) for plan in plans]
        counts = [counted(plan) for plan in plans]
        self.total, self.done = sum(total for total, _ in counts), [done for _, done in counts]

    def better(self, group: Sequence[_Placed]) -> BetterPlace | None:
        """Return the place where these drops would save most; None if that is about here."""
        here = self._skipped(self.done)
        places = [(self._with(group, spots), spots) for spots in self._common(group)]
        there, spots = max(places, key=_rank, default=(0.0, []))
        if there < here + _LEAST:
            return None
        names, first = tuple(one.audited.name for one in group), group[0].audited
        return BetterPlace(names, first.where, _titled(spots), here, there)

    def _common(self, group: Sequence[_Placed]) -> list[list[Spot]]:
        """Return the places that all drops have: as many steps away, behind such an operation."""
        every = [{s.steps: s for s in self.chains[p.graph].spots(p.node)} for p in group]
        found = [[spots.get(steps) for spots in every] for steps in every[0]]
        common = [[spot for spot in spots if spot is not None] for spots in found]
        return [
            spots
            for spots in common
            if len(spots) == len(group) and len({spot.node.operation for spot in spots}) == 1
        ]

    def _with(self, group: Sequence[_Placed], spots: Sequence[Spot]) -> float:
        """Return what would be skipped with drops at other places; 0 if they drop nothing there."""
        moves: dict[int, dict[Node, Move]] = defaultdict(dict)
        for one, spot in zip(group, spots, strict=True):
            source = self.chains[one.graph].drops[one.node]
            moves[one.graph][spot.node] = Move(one.node, source, spot.node)
        done = list(self.done)
        for number, given in moves.items():
            now = self.plans[number]
            graph, became = moved(now.analysis.graph, given)
            if not Chains(graph).drops.keys() >= set(became.values()):
                return 0.0
            done[number] = counted(plan(graph, now.choice.costs, now.static))[1]
        return self._skipped(done)

    def _skipped(self, done: Iterable[float]) -> float:
        return 1 - fsum(done) / self.total if self.total else 0.0


def _rank(place: tuple[float, list[Spot]]) -> tuple[float, int, int]:
    """Order places by what they save; of those that print alike, the nearest before a product."""
    saves, (spot, *_) = place
    return round(saves, 2), -spot.crossed, spot.steps


def _titled(spots: Sequence[Spot]) -> str:
    """Name a node: by its operation and line, and by its layer if it is one alone."""
    node = spots[0].node
    name = repr(node.name) if node.layer and len(spots) == 1 else ""
    line = f"({_line(node)})" if node.where else ""
    return " ".join(filter(None, (node.operation, name, line)))


def _line(node: Node) -> str:
    """Return the line of the model's code that calls a node; "" if only PyTorch's code does."""
    return shown(node.where) if node.where else ""
