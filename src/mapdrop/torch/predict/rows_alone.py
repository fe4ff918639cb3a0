"""Check that what several passes share is, for each row of the batch, what the row alone gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from mapdrop.torch.graph.branches import reads_of
from mapdrop.torch.graph.graph import Graph, GraphError, Node, call_by_numbers
from mapdrop.torch.graph.registry import record_of
from mapdrop.torch.graph.sample_axis import SampleAxis
from mapdrop.torch.graph.sample_rules import expanded, reshaped
from mapdrop.torch.predict.split import FILLED, Split


def check_places(split: Split, one: Graph, places: Sequence[SampleAxis | None]) -> None:
    """Raise GraphError if all rows read something that follows from some of them.

    Args:
        split: of the graph of the whole batch.
        one: the same graph for one row.
        places: where the fixed nodes have the rows; None for those that all replicas read.
    """
    of_rows = _of_rows(split.graph, one)
    for node, place in zip(split.fixed, places, strict=True):
        if (node in of_rows) if place is None else place.before > 1:
            raise GraphError(f"samples of the batch meet before the first drop, in {node}")


def rows_alone(split: Split, one: Graph, places: Sequence[SampleAxis | None], rows: int) -> bool:
    """Return whether the fixed values of the batch certainly are those of its rows alone.

    Args:
        split, one, places: as for `check_places`.
        rows: of the batch.
    """
    try:
        _check_rows(split, one, places, rows)
    except GraphError:
        return False
    return True


def _check_rows(split: Split, one: Graph, places: Sequence[SampleAxis | None], rows: int) -> None:
    of_rows = _of_rows(split.graph, one)
    asked: dict[Node, SampleAxis] = {}

    def ask(node: Node, place: SampleAxis | None) -> None:
        if (place is None and node in of_rows) or asked.get(node, place) != place:
            raise GraphError(f"samples of the batch meet before the first drop, in {node}")
        if place is not None:
            asked[node] = place

    for node, place in zip(split.fixed, places, strict=True):
        ask(node, None if place is None else replace(place, samples=rows))
    fixed = {node for node in split.graph.nodes if node not in split.varying}
    for node in reversed(split.graph.nodes):
        if node in asked and node in fixed:
            reads = _reads(node, one.nodes[node.number], asked[node])
            for source in node.inputs:
                ask(source, reads.get(source))


def _of_rows(graph: Graph, one: Graph) -> set[Node]:
    """Return what follows from inputs that have the rows."""
    found: set[Node] = set()
    for node in graph.nodes:
        is_batch = node.target is None and node.shape != one.nodes[node.number].shape
        if is_batch or not found.isdisjoint(node.inputs):
            found.add(node)
    return found


def _reads(node: Node, one: Node, place: SampleAxis) -> Mapping[Node, SampleAxis]:
    """Return where a call reads the rows. Raises GraphError if they may meet in it."""
    if node.target is None:
        if replace(place, samples=1) != SampleAxis(0, 1):
            raise GraphError(f"the samples of {node} are not side by side")
        return {}
    if not node.inputs and node.operation in FILLED:
        return {}
    record = record_of(node)
    same = record is not None and record.samples in (reshaped, expanded)
    reads = reads_of(node, place) if same or call_by_numbers(node) == call_by_numbers(one) else None
    # mapdrop's coins belong to places: a row alone has those of the first one.
    if reads is None or not node.inputs or node.operation == "mapdrop.drop":
        raise GraphError(f"samples of the batch meet before the first drop, in {node}")
    return reads
