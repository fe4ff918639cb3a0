"""Dataflow over a graph: what follows from the inputs down, and from the outputs up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from mapdrop.torch.graph.facts import Facts
from mapdrop.torch.graph.graph import Graph, Node

Value = TypeVar("Value")


def forward(
    graph: Graph,
    facts: Mapping[Node, Facts],
    transfer: Callable[[Facts, list[Value]], Value],
    top: Callable[[Node], Value],
) -> dict[Node, Value]:
    """Return a value for each array: `transfer` of its sources' values.

    Args:
        graph: to go through.
        facts: of the nodes that are not opaque.
        transfer: returns the value of a result, given those of the sources.
        top: the value of an input, and of what an opaque node makes.
    """
    found: dict[Node, Value] = {}
    for node in graph.nodes:
        if node.is_array:
            known = facts.get(node)
            found[node] = (
                top(node)
                if known is None
                else transfer(known, [found[source] for source in known.sources])
            )
    return found


def backward(
    graph: Graph,
    facts: Mapping[Node, Facts],
    transfer: Callable[[Facts, Value], list[Value]],
    join: Callable[[Node, list[Value]], Value],
    top: Callable[[Node], Value],
) -> dict[Node, Value]:
    """Return a value for each array: what its readers read of it, together.

    Args:
        graph: to go through.
        facts: of the nodes that are not opaque.
        transfer: returns what is read of each source, given what is read of the result.
        join: returns what is read of a node, given what each reader reads.
        top: the value of an output, and of what an opaque node reads.
    """
    read: dict[Node, list[Value]] = {}
    found: dict[Node, Value] = {}
    for node in reversed(graph.nodes):
        if not node.is_array:
            continue
        reads = read.get(node, [])
        found[node] = (
            join(node, reads) if reads and not _read_whole(graph, facts, node) else (top(node))
        )
        known = facts.get(node)
        if known is not None:
            for source, value in zip(known.sources, transfer(known, found[node]), strict=True):
                read.setdefault(source, []).append(value)
    return found


def _read_whole(graph: Graph, facts: Mapping[Node, Facts], node: Node) -> bool:
    return node in graph.returned or any(
        _reads_whole(graph, facts, user, node) for user in graph.users[node]
    )


def _reads_whole(graph: Graph, facts: Mapping[Node, Facts], user: Node, node: Node) -> bool:
    known = facts.get(user)
    if known is not None:
        return node not in known.sources
    if not isinstance(user.value, (tuple, list)):
        return True
    # The parts of a tuple may be read one by one, as those of chunk.
    return user in graph.returned or any(part not in facts for part in graph.users[user])
