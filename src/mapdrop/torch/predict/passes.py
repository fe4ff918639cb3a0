"""Passes of a captured model, one after the other: what is the same in all is computed once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import torch
from torch import Tensor

from mapdrop.torch.compact.cost_model import Costs
from mapdrop.torch.compact.schedule import Schedule
from mapdrop.torch.graph.graph import Node
from mapdrop.torch.graph.replicas import RandomStates
from mapdrop.torch.predict.capture import Capture
from mapdrop.torch.predict.replicate import Suffix, as_it_is
from mapdrop.torch.predict.skipping import scheduled
from mapdrop.torch.predict.split import Split, split

CHUNK = 2**28  # Bytes that the passes of a chunk may take.


@dataclass(frozen=True, eq=False)
class Plan:
    """What is made of a captured model for calls of one kind."""

    split: Split
    states: RandomStates
    suffix: Suffix
    schedule: Schedule

    @cached_property
    def bytes_of_a_pass(self) -> int:
        """How much memory the arrays of a pass take at the same time."""
        graph = self.suffix.graph
        last = {s: node.number for node in graph.nodes for s in node.inputs}
        live = most = sum(_bytes(node) for node in graph.inputs if not node.is_parameter)
        for node in graph.nodes:
            if node.target is not None:
                live += _bytes(node)
                most = max(most, live)
            live -= sum(_bytes(s) for s in node.inputs if s.target and last[s] == node.number)
        return max(1, most)


def _bytes(node: Node) -> int:
    return prod(node.shape) * node.value.element_size() if node.is_array else 0


def kind(inputs: Sequence[Any]) -> tuple[Any, ...]:
    """Return what tells apart the inputs of a graph for which other plans are made."""
    return tuple((i.shape, i.stride()) if isinstance(i, Tensor) else i for i in inputs)


class PassByPass:
    """Passes of a captured model with certain inputs, for the whole batch.

    Attributes:
        fixed: the values of the nodes that are the same in every pass.
    """

    def __init__(
        self,
        capture: Capture,
        inputs: Sequence[Any],
        devices: Sequence[torch.device],
        costs: Costs | None,
    ) -> None:
        """Compute what is the same in every pass. Raises GraphError."""

        def plan() -> Plan:
            states = RandomStates(devices)
            found = split(capture.graph(inputs), inputs, states)
            suffix = as_it_is(found)
            return Plan(found, states, suffix, scheduled(suffix, costs))

        self.plan: Plan = capture.kept(("alone", costs, kind(inputs)), plan)
        self.fixed: list[Any] = self.plan.split.prefix.run(inputs, None)

    @property
    def varies(self) -> bool:
        """Whether anything that the graph returns depends on random numbers."""
        return bool(self.plan.split.outputs)

    @property
    def chunk(self) -> int:
        """How many passes to run at a time, by the memory that they take."""
        return max(1, CHUNK // self.plan.bytes_of_a_pass)

    def outputs(self, seed: int) -> list[Any]:
        """Return the outputs of the graph in a pass."""
        self.plan.states.seed([seed])
        return self.completed(self.plan.schedule.run(self.fixed))

    def each(self, seeds: Sequence[int]) -> Iterator[list[Any]]:
        """Yield the outputs of passes."""
        for seed in seeds:
            yield self.outputs(seed)

    def completed(self, varying: Sequence[Any]) -> list[Any]:
        """Return all outputs, given those that vary."""
        found = self.plan.split
        places = {node: i for i, node in enumerate(found.fixed)}
        values = dict(zip(found.outputs, varying, strict=True))
        return [
            values[i] if i in values else self.fixed[places[v]] if isinstance(v, Node) else v
            for i, v in enumerate(found.graph.outputs)
        ]
