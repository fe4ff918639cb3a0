"""Run passes of a captured model: what is the same in all once, the rest for several at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
from torch import Tensor

from mapdrop.torch.compact.choose import choose
from mapdrop.torch.compact.choose_samples import choose_branches
from mapdrop.torch.compact.cost_model import Costs
from mapdrop.torch.compact.schedule import Schedule, costs_for
from mapdrop.torch.graph.analysis import analyse
from mapdrop.torch.graph.graph import GraphError, Node
from mapdrop.torch.graph.registry import may_draw
from mapdrop.torch.graph.replicas import RandomStates
from mapdrop.torch.predict.capture import Call
from mapdrop.torch.predict.replicate import Suffix, as_it_is, replicated
from mapdrop.torch.predict.split import Split, split

CHUNK = 2**28  # Bytes that the passes of a chunk may take.


@dataclass(eq=False)
class _Plan:
    """What is made of a captured model for batches of one size."""

    split: Split
    states: RandomStates
    one: tuple[Suffix, Schedule]
    several: dict[int, tuple[Suffix, Schedule] | None] = field(default_factory=dict)

    @property
    def bytes_of_a_pass(self) -> int:
        """How much memory the arrays of one pass take at the same time."""
        graph = self.one[0].graph
        last = {s: node.number for node in graph.nodes for s in node.inputs}
        live, most = 0, 1
        for node in graph.nodes:
            if node.target is not None:
                live += _bytes(node)
                most = max(most, live)
            live -= sum(_bytes(s) for s in node.inputs if s.target and last[s] == node.number)
        return most


def _bytes(node: Node) -> int:
    return prod(node.shape) * node.value.element_size() if node.is_array else 0


class Passes:
    """Passes of a model with certain arguments.

    Args:
        call: what the model does. Raises GraphError.
        shared: whether all inputs of a batch see one mask.
        devices: whose generators are drawn from.
        costs: the constants by which it is chosen what to skip; None for this machine's.
    """

    def __init__(
        self, call: Call, shared: bool, devices: Sequence[torch.device], costs: Costs | None
    ) -> None:
        self.call, self.shared, self.costs = call, shared, costs
        inputs = call.inputs(call.arguments)
        sizes = [(i.shape, i.stride()) if isinstance(i, Tensor) else i for i in inputs]
        key = (shared, costs, *sizes)
        made = call.capture.made
        if key not in made:
            made[key] = _planned(call, inputs, RandomStates(devices), costs)
        self.plan: _Plan = made[key]
        self.fixed = self.plan.split.prefix.run(inputs, None)

    @property
    def varies(self) -> bool:
        """Whether anything that is returned depends on random numbers."""
        return bool(self.plan.split.outputs)

    @property
    def chunk(self) -> int:
        """How many passes to run at a time, by the memory that they take."""
        return max(1, CHUNK // self.plan.bytes_of_a_pass)

    def run(self, seeds: Sequence[int]) -> list[Any]:
        """Return the model's result of each pass."""
        states = self.plan.states
        rows = self.call.arguments.rows
        several = self._several(len(seeds))
        if several is None:
            if self.shared and rows > 1:
                raise GraphError("its passes cannot be run row by row")
            return [self._one(seed) for seed in seeds]
        suffix, schedule = several
        repeats = rows if self.shared else 1
        states.seed([seed for seed in seeds for _ in range(repeats)])
        outputs = schedule.run(suffix.inputs(self.fixed, len(seeds)))
        parts = [output.chunk(len(seeds)) for output in outputs]
        return [self._result(list(part)) for part in zip(*parts, strict=True)]

    def _one(self, seed: int) -> Any:
        suffix, schedule = self.plan.one
        self.plan.states.seed([seed])
        return self._result(list(schedule.run(suffix.inputs(self.fixed, 1))))

    def _result(self, varying: Sequence[Any]) -> Any:
        split = self.plan.split
        values: list[Any] = list(split.graph.outputs)
        for number, value in zip(split.outputs, varying, strict=True):
            values[number] = value
        places = {node: i for i, node in enumerate(split.fixed)}
        found = [self.fixed[places[v]] if isinstance(v, Node) else v for v in values]
        return self.call.result(found)

    def _several(self, passes: int) -> tuple[Suffix, Schedule] | None:
        """Return what runs several passes at once; None if they run one by one."""
        made = self.plan.several
        if passes not in made:
            try:
                made[passes] = self._replicated(passes)
            except GraphError:  # In no one place are the rows of all passes side by side.
                made[passes] = None
        return made[passes]

    def _replicated(self, passes: int) -> tuple[Suffix, Schedule]:
        call, arguments = self.call, self.call.arguments
        one, rows = self.plan.split.graph, passes * arguments.rows
        if self.shared and arguments.rows > 1:
            one = call.capture.graph(call.inputs(arguments.row(0)))
        elif passes < 2:
            raise GraphError("it is one pass")
        many = call.capture.graph(call.inputs(arguments.copied(passes)))
        suffix = replicated(self.plan.split, one, many, rows, passes, self.plan.states)
        return suffix, _scheduled(suffix, self.costs)


def _planned(call: Call, inputs: Sequence[Any], states: RandomStates, costs: Costs | None) -> _Plan:
    found = split(call.capture.graph(inputs), inputs, states)
    suffix = as_it_is(found)
    return _Plan(found, states, (suffix, _scheduled(suffix, costs)))


def _scheduled(suffix: Suffix, costs: Costs | None) -> Schedule:
    """Return the steps of a suffix, which leave out what is dropped where that pays."""
    graph = suffix.graph
    if any(map(_skips_nothing, graph.nodes)):
        nothing = analyse(graph, lambda kept: False)
        return Schedule.of(nothing, choose(nothing, Costs()))
    analysis = analyse(graph)
    costs = costs_for(graph, bool(analysis.drops or suffix.drops), costs)
    branches, choices = choose_branches(graph, suffix.drops, costs)
    inside = {node for drop in branches.drops for node in branches.nodes[drop]}
    if any(_draws_fewer(node, node in analysis.facts) for node in inside):
        branches, choices = choose_branches(graph, (), costs)
    if branches.drops:
        analysis = analyse(graph, branches=branches)
    return Schedule.of(analysis, choose(analysis, costs), choices)


def _skips_nothing(node: Node) -> bool:
    """Return whether a node is one by which nothing is skipped in its graph.

    On a GPU the host would wait to read each mask. PyTorch's dropout draws in the order of the
    memory, which skipping may change.
    """
    if node.is_array and not node.value.is_cpu:
        return True
    return may_draw(node, False) and not all(s.value.is_contiguous() for s in node.tensors)


def _draws_fewer(node: Node, has_facts: bool) -> bool:
    """Return whether a call would draw other numbers for some of its rows."""
    return may_draw(node, has_facts) and node.operation not in ("mapdrop.drop", "replicated")
