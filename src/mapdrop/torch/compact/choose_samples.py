"""Choose which branches run for the kept samples: those that save more than the copies cost."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from torch import Tensor

from mapdrop.torch.compact.cost_model import PASSES, Costs
from mapdrop.torch.compact.products import products
from mapdrop.torch.graph.branches import Branches, find_branches
from mapdrop.torch.graph.graph import Graph, Node
from mapdrop.torch.graph.sample_drops import SampleDrop

_BYTES = 4
_MOVES = 5  # To take samples out and to add their gradients reads and writes so many arrays.
_CALLS = 2  # To take samples out, and to add what the branch makes of them.
_VIEWS = {
    "view", "reshape", "flatten", "unflatten", "permute", "transpose", "getitem", "select",
    "squeeze", "unsqueeze", "expand", "detach", "unbind", "chunk", "split", "swapaxes", "swapdims",
}  # fmt: skip
"""What moves no values, or few."""


@dataclass(frozen=True)
class BranchChoice:
    """A drop of whole samples: what it would save, and why its branch runs for all samples."""

    drop: SampleDrop
    saves: float
    costs: float
    reason: str = ""


def choose_branches(
    graph: Graph, drops: tuple[SampleDrop, ...], costs: Costs, static: bool = False
) -> tuple[Branches, tuple[BranchChoice, ...]]:
    """Return the branches that run for the kept samples, and what was decided of each drop.

    With `static` each runs for the largest number of samples that its drop keeps.
    """
    every = find_branches(graph, drops)
    choices = tuple(_choice(every, drop, costs, static) for drop in every.drops)
    chosen = [choice.drop for choice in choices if not choice.reason]
    return (find_branches(graph, chosen) if len(chosen) < len(choices) else every), choices


def _choice(branches: Branches, drop: SampleDrop, costs: Costs, static: bool) -> BranchChoice:
    nodes = branches.nodes[drop]
    most = drop.most if static else None
    share = drop.kept if most is None else most / drop.at.samples
    saves = (1 - share) * sum(_seconds(node, costs) for node in nodes)
    members = set(nodes)
    read = {
        source
        for node in nodes
        for source in branches.reads[node]
        if source not in members and not source.is_parameter
    }
    values = sum(prod(source.shape) for source in read)
    spent = _MOVES * values * _BYTES / costs.activations + _CALLS * costs.call
    return BranchChoice(drop, saves, spent, _reason(branches, drop, saves, spent, costs))


def _reason(branches: Branches, drop: SampleDrop, saves: float, spent: float, costs: Costs) -> str:
    if not branches.nodes[drop]:
        source = drop.source
        named = f"{source.layer or source.operation} {source.name!r}"
        if drop.source in branches.obstacles:
            return f"{named} may mix samples, as BatchNorm in training does"
        return f"others read {named} too, and need all samples"
    if saves * (1 - costs.margin) < spent:
        return "it would save less than it costs: a small branch, or a small p"
    return ""


def _seconds(node: Node, costs: Costs) -> float:
    """Predict the seconds of a training step's passes over an operation for all samples."""
    if node.operation in _VIEWS:
        return 0.0
    results = node.value if isinstance(node.value, (tuple, list)) else (node.value,)
    read = sum(prod(source.shape) for source in node.tensors)
    values = read + sum(prod(r.shape) for r in results if isinstance(r, Tensor))
    return PASSES * (2 * products(node) / costs.flops + values * _BYTES / costs.activations)
