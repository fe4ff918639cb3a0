"""The schedule of a graph: what is skipped, and the program that skips it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from torch import Tensor

from mapdrop.torch.compact.calibration import calibrate
from mapdrop.torch.compact.choose import Choice, choose
from mapdrop.torch.compact.choose_samples import BranchChoice, choose_branches
from mapdrop.torch.compact.cost_model import Costs
from mapdrop.torch.compact.lower import lower
from mapdrop.torch.compact.packed.registry import PACKED
from mapdrop.torch.compact.packing.layout import BLOCK
from mapdrop.torch.compact.packing.storage import DENSE, StaticStepState, StepState, Storage
from mapdrop.torch.graph.analysis import Analysis, analyse
from mapdrop.torch.graph.capture import Make, Subgraph
from mapdrop.torch.graph.facts import DropFacts
from mapdrop.torch.graph.graph import Graph, Node
from mapdrop.torch.graph.lattice import AllMaps, Kept, MapSet, with_static_count
from mapdrop.torch.graph.program import Program
from mapdrop.torch.graph.sample_drops import sample_drops


@dataclass(eq=False)
class Plan:
    """What is skipped in a graph.

    Attributes:
        analysis: what is known.
        choice, branches: what was decided of maps, and of each drop of samples.
        static: whether no step reads a mask on the host.
    """

    analysis: Analysis
    choice: Choice
    branches: tuple[BranchChoice, ...]
    static: bool


@dataclass(eq=False)
class Schedule(Plan):
    """A program, and the plan that it follows from.

    Attributes:
        program: the steps.
        storages: how the result of each operation is stored.
        fused: the ReLUs that are done by the operation before them.
        parts: what is checkpointed, each with a schedule of its own for each kind of call.
        last: the state of the last call.
    """

    program: Program
    storages: Mapping[Node, Storage]
    fused: frozenset[Node]
    parts: tuple[Subgraph[Schedule], ...]
    last: StepState | None = field(default=None, compare=False)

    @classmethod
    def of(cls, plan: Plan, make: Make[Schedule] | None = None) -> Schedule:
        """Write the steps of a plan.

        Checkpointed parts run as `make` makes them, or as they are.
        """
        made = lower(plan.analysis, plan.choice, plan.static, make)
        return cls(**vars(plan), **made._asdict())

    @property
    def skips(self) -> bool:
        """Whether anything is skipped; of checkpointed parts, whether the last call did."""
        inside = any(isinstance(part.last, Schedule) and part.last.skips for part in self.parts)
        return inside or any(storage != DENSE for storage in self.storages.values())

    @cached_property
    def _block(self) -> int:
        """1 if mapdrop's own kernels do every operation that skips."""
        skipping = [d for d in self.choice.decisions if d.skips]
        return 1 if all(d.work.own_kernels for d in skipping) else BLOCK

    def run(self, inputs: Sequence[Any]) -> tuple[Any, ...]:
        """Return the outputs of the graph."""
        kind = StaticStepState if self.static else StepState
        self.last = kind(self.analysis.samples, self._block)
        outputs: tuple[Any, ...] = self.program.run(inputs, self.last)
        return outputs


def scheduler(costs: Costs | None) -> Callable[[Graph, Sequence[Any]], Schedule]:
    """Return what makes a schedule of a graph and its first inputs, by such costs."""

    def make(graph: Graph, inputs: Sequence[Any]) -> Schedule:
        tensors = [value for value in inputs if isinstance(value, Tensor)]
        return schedule(graph, costs, _reading_masks_waits(tensors))

    return make


def with_parts(made: Schedule | str) -> list[Schedule | str]:
    """Return what was run, and what was run inside it for each checkpointed part."""
    parts = made.parts if isinstance(made, Schedule) else ()
    inside = [one for p in parts if p.last is not None for one in with_parts(p.last)]
    return [made, *inside]


def _reading_masks_waits(tensors: list[Tensor]) -> bool:
    """Return whether the host would have to wait for a device to read a mask."""
    return any(not t.is_cpu for t in tensors)


def schedule(graph: Graph, costs: Costs | None, waits: bool = False) -> Schedule:
    """Analyse a graph, choose what to skip, and write the steps.

    Args:
        graph: the graph.
        costs: the constants to choose by; None for this machine's.
        waits: whether the host would wait for the device to read a mask. Then only drops with a
            known count skip anything, if there are any, and no others of whole samples.
    """
    if waits and _all_are_known(graph):
        return static_schedule(graph, costs, scheduler(costs))
    return Schedule.of(plan(graph, costs), scheduler(costs))


def static_schedule(
    graph: Graph, costs: Costs | None, make: Make[Schedule] | None = None
) -> Schedule:
    """As `schedule`, but no step reads a mask on the host: only known counts skip anything.

    Checkpointed parts run as `make` makes them, or as they are.
    """
    return Schedule.of(plan(graph, costs, static=True), make)


def plan(graph: Graph, costs: Costs | None, static: bool = False) -> Plan:
    """Analyse a graph, and choose what to skip; with `static` where no step reads a mask."""
    accept = _is_counted if static else _is_any
    drops = tuple(d for d in sample_drops(graph) if d.most is not None or not static)
    analysis = analyse(graph, accept)
    costs = costs_for(graph, bool(analysis.drops or drops), costs)
    branches, choices = choose_branches(graph, drops, costs, static)
    if branches.drops:
        analysis = analyse(graph, accept, branches)
    if static:
        analysis = _with_static_counts(analysis)
    return Plan(analysis, choose(analysis, costs, static), choices, static)


def _all_are_known(graph: Graph) -> bool:
    """Return whether some drops have a known count, and all of samples do."""
    drops = sample_drops(graph)
    known = drops or any(facts.drop.exact for _, facts in analyse(graph).drops)
    return bool(known) and all(drop.limited for drop in drops)


def _is_any(kept: Kept) -> bool:
    return True


def _is_counted(kept: Kept) -> bool:
    return kept.count > 0


def costs_for(graph: Graph, drops: bool, costs: Costs | None) -> Costs:
    """Return this machine's constants, if none are given and something is dropped."""
    if costs is not None:
        return costs
    on_cpu = any(node.is_array and node.value.device.type == "cpu" for node in graph.inputs)
    return calibrate() if on_cpu and drops else Costs()


def _with_static_counts(analysis: Analysis) -> Analysis:
    """Return an analysis with sets so large that the number of their maps is known ahead."""

    def enlarged(node: Node, needed: MapSet) -> MapSet:
        facts = analysis.facts.get(node)
        maps = with_static_count(needed)
        dense = facts is None or not PACKED[type(facts)].static or isinstance(maps, AllMaps)
        # Inside a branch each sample is somewhere else in the array.
        if dense or node in analysis.branches.needed:
            return AllMaps(maps.channels)
        # Not more than a drop keeps: it would have to fill the others with zeros.
        return facts.kept if isinstance(facts, DropFacts) else maps

    needed = {node: enlarged(node, maps) for node, maps in analysis.needed.items()}
    return replace(analysis, needed=needed)
