"""Move drops in a graph to other places."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from mapdrop.torch.graph.graph import Graph, Node, substituted
from mapdrop.torch.graph.sample_drops import ancestors


@dataclass(frozen=True, eq=False)
class Move:
    """A drop, what it drops from, and the node whose readers are to read what it drops instead."""

    drop: Node
    source: Node
    behind: Node


def moved(graph: Graph, moves: Mapping[Node, Move]) -> tuple[Graph, dict[Node, Node]]:
    """Return a graph with drops at other places, and what each of them became there.

    Args:
        graph: the graph.
        moves: by the node that each leads behind.
    """
    drops = {move.drop: move.source for move in moves.values()}
    made: dict[Node, Node] = {}
    became: dict[Node, Node] = {}
    nodes: list[Node] = []

    def add(node: Node, source: Node | None = None, instead: Node | None = None) -> Node:
        def new(read: Node) -> Node:
            return instead if instead is not None and read is source else made[read]

        args, kwargs = substituted((node.args, node.kwargs or {}), new)
        nodes.append(node.numbered(len(nodes), args, kwargs))
        return nodes[-1]

    for node in graph.nodes:
        if node in drops:
            made[node] = made[drops[node]]
        elif node not in made:
            made[node] = add(node)
        move = moves.get(node)
        if move is not None:
            given = [source for source in move.drop.inputs if source is not move.source]
            for one in ancestors(*given):  # A mask is drawn before it is used.
                made[one] = made.get(one) or add(one)
            drop = replace(move.drop, value=node.value)
            made[node] = became[move.drop] = add(drop, move.source, made[node])
    outputs = tuple(made[v] if isinstance(v, Node) else v for v in graph.outputs)
    overwritten = frozenset(made[node] for node in graph.overwritten)
    return Graph(tuple(nodes), outputs, overwritten), became
