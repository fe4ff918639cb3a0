"""The steps of what varies from pass to pass, which leave out what is dropped where that pays."""

from __future__ import annotations

from mapdrop.torch.compact.choose import choose
from mapdrop.torch.compact.choose_samples import choose_branches
from mapdrop.torch.compact.cost_model import Costs
from mapdrop.torch.compact.schedule import Plan, Schedule, costs_for
from mapdrop.torch.graph.analysis import analyse
from mapdrop.torch.graph.graph import Node
from mapdrop.torch.graph.registry import may_draw
from mapdrop.torch.predict.replicate import Suffix


def scheduled(suffix: Suffix, costs: Costs | None) -> Schedule:
    """Return the steps of a suffix.

    Args:
        suffix: what varies.
        costs: the constants to choose by; None for this machine's.
    """
    graph = suffix.graph
    if any(map(_skips_nothing, graph.nodes)):
        nothing = analyse(graph, lambda kept: False)
        return Schedule.of(Plan(nothing, choose(nothing, Costs()), (), static=False))
    analysis = analyse(graph)
    costs = costs_for(graph, bool(analysis.drops or suffix.drops), costs)
    branches, choices = choose_branches(graph, suffix.drops, costs)
    inside = {node for drop in branches.drops for node in branches.nodes[drop]}
    if any(_draws_fewer(node, node in analysis.facts) for node in inside):
        branches, choices = choose_branches(graph, (), costs)
    if branches.drops:
        analysis = analyse(graph, branches=branches)
    return Schedule.of(Plan(analysis, choose(analysis, costs), choices, static=False))


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
