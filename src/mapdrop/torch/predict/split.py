"""Split a captured model: what is the same in every pass, and what follows from random numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mapdrop.torch.compact.calls import call_of
from mapdrop.torch.graph.analysis import find_facts
from mapdrop.torch.graph.facts import DropFacts
from mapdrop.torch.graph.graph import Graph, GraphError, Node, out_of_place
from mapdrop.torch.graph.program import Program, Run, Step
from mapdrop.torch.graph.registry import may_draw, record_of
from mapdrop.torch.graph.replicas import RandomStates
from mapdrop.torch.graph.sample_drops import without_inputs

FILLED = ("empty", "zeros", "ones", "full")
_DRAWING = ("mapdrop.fresh_seed", "mapdrop.call_words")
"""mapdrop's own: they draw, even if a scheduled rate is 0 at present."""


@dataclass(frozen=True, eq=False)
class Split:
    """A graph in two parts.

    Attributes:
        graph: the graph.
        drawing: the nodes that draw random numbers.
        varying: these and what follows from them, which differs from pass to pass.
    """

    graph: Graph
    drawing: frozenset[Node]
    varying: frozenset[Node]

    @cached_property
    def suffix(self) -> tuple[Node, ...]:
        """The varying nodes, and the arrays of one value that they fill."""
        free = without_inputs(self.graph)
        read = {s for node in self.varying for s in node.inputs if s not in self.varying}
        filled = {n for n in read if n in free and n.operation in FILLED}
        return tuple(n for n in self.graph.nodes if n in self.varying or n in filled)

    @cached_property
    def outputs(self) -> tuple[int, ...]:
        """Which of the outputs vary."""
        return tuple(i for i, value in enumerate(self.graph.outputs) if value in self.varying)

    @cached_property
    def fixed(self) -> tuple[Node, ...]:
        """What these read, or the model returns, that is the same in every pass."""
        within = frozenset(self.suffix)
        kept = {s for node in within for s in node.inputs} | self.graph.returned
        return tuple(n for n in self.graph.nodes if n in kept and n not in within)

    @cached_property
    def prefix(self) -> Program:
        """What computes the values of the fixed nodes from the graph's inputs."""
        needed: set[Node] = set(self.fixed)
        for node in reversed(self.graph.nodes):
            needed.update(node.inputs if node in needed else ())
        steps = [Step(n, _step(self.graph, n), n.inputs) for n in self.graph.nodes if n in needed]
        fixed = self.fixed
        steps.append(Step("fixed", lambda env, _: [env[node] for node in fixed], fixed))
        return Program.of(steps)


def split(graph: Graph, inputs: Sequence[Any], states: RandomStates) -> Split:
    """Return a graph in two parts. Raises GraphError.

    What is known of no operation is tried: whether it draws, with these inputs.
    """
    if graph.overwritten or any(node.region for node in graph.nodes):
        raise GraphError("it overwrites arrays, or switches gradients or autocast")
    facts = find_facts(graph, lambda kept: True)
    drawing: set[Node] = set()
    varying: set[Node] = set()
    env: dict[Any, Any] = {"inputs": list(inputs)}
    for node in graph.nodes:
        known = facts.get(node)
        draws = may_draw(node, known is not None and not isinstance(known, DropFacts))
        depends = not varying.isdisjoint(node.inputs)
        if draws and record_of(node) is None and not depends and node.operation not in _DRAWING:
            draws = _is_drawing(graph, node, env, states)
        if draws:
            drawing.add(node)
        if draws or depends:
            varying.add(node)
    return Split(graph, frozenset(drawing), frozenset(varying))


def _is_drawing(graph: Graph, node: Node, env: dict[Any, Any], states: RandomStates) -> bool:
    """Return whether a call changes the generators' states. `env` has the values known so far."""
    for source in _ancestors(node, env):
        env[source] = _step(graph, source)(env, None)
    before = states.now()
    env[node] = _step(graph, node)(env, None)
    after = states.now()
    return any(not a.equal(b) for a, b in zip(before, after, strict=True))


def _ancestors(node: Node, known: dict[Any, Any]) -> list[Node]:
    """Return what a node follows from that is not known yet, in order."""
    found: set[Node] = set()
    open_ = list(node.inputs)
    while open_:
        source = open_.pop()
        if source not in known and source not in found:
            found.add(source)
            open_.extend(source.inputs)
    return sorted(found, key=lambda n: n.number)


def _step(graph: Graph, node: Node) -> Run:
    if node.target is None:
        number = graph.inputs.index(node)
        return lambda env, _: env["inputs"][number]
    return call_of(out_of_place(node), {source: source for source in node.inputs})
