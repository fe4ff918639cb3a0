"""Count the multiplications of a forward, and how many of them are done as planned."""

from __future__ import annotations

from math import fsum, prod

from mapdrop.torch.compact.choose import Decision
from mapdrop.torch.compact.products import products
from mapdrop.torch.compact.schedule import Plan
from mapdrop.torch.graph.graph import Node


def counted(plan: Plan) -> tuple[int, float]:
    """Return the multiplications of a forward, and how many are expected to be done as planned.

    Both gradients of a product take as many, and leave out the same shares.
    """
    found = {node: number for node in plan.analysis.graph.nodes if (number := products(node))}
    decisions = {decision.node: decision for decision in plan.choice.decisions}
    done = (
        number * _samples(node, plan) * _maps(node, plan, decisions.get(node))
        for node, number in found.items()
    )
    return sum(found.values()), fsum(done)


def _samples(node: Node, plan: Plan) -> float:
    """Return the expected share of samples that an operation runs for."""
    branches = plan.analysis.branches
    if node not in branches.needed:
        return 1.0
    numbers = branches.needed[node].drops
    drops = [drop for drop in branches.drops if drop.number in numbers]
    if plan.static:
        return min((drop.most or drop.at.samples) / drop.at.samples for drop in drops)
    return prod(drop.kept for drop in drops)


def _maps(node: Node, plan: Plan, decision: Decision | None) -> float:
    """Return the expected share of pairs of maps, read and made, that an operation multiplies."""
    if decision is None:  # A convolution of each map by itself runs for those that are stored.
        return plan.analysis.needed[node].density if node in plan.choice.packed else 1.0
    reads = decision.reads.density if decision.skip_reads else 1.0
    return reads * (decision.makes.density if decision.skip_makes else 1.0)
