"""When the random numbers of a step are drawn: in the model's own order, but as early as possible.

What follows from no input, as a seed or the mask of a drop path, can be drawn ahead, up to the last
node before it that draws random numbers and does read inputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mapdrop.torch.graph.branches import Branches
from mapdrop.torch.graph.facts import DropFacts, Facts
from mapdrop.torch.graph.graph import Node
from mapdrop.torch.graph.registry import may_draw
from mapdrop.torch.graph.sample_drops import SampleDrop, ancestors, without_inputs


@dataclass(frozen=True, eq=False)
class Draw:
    """Something that is drawn ahead.

    Attributes:
        what: a node that draws random numbers, or a drop, whose mask is made of such nodes.
        nodes: what it follows from, but for inputs.
        after: the number of the node after which it is drawn; -1 for the start.
    """

    what: Node | DropFacts | SampleDrop
    nodes: tuple[Node, ...]
    after: int


def draws_of(facts: Mapping[Node, Facts], branches: Branches) -> tuple[Draw, ...]:
    """Return what is drawn ahead, in order.

    Every random number is what it would have been, but for a branch that draws some itself: which
    samples are kept must be known before.
    """
    free = without_inputs(branches.graph)
    drawing = [n for n in branches.graph.nodes if may_draw(n, n in facts)]
    own = {n for known in facts.values() if isinstance(known, DropFacts) for n in _given(known)}
    own.update(n for drop in branches.drops for n in drop.drawn)
    barriers = [n.number for n in drawing if n not in free and n not in own]

    def turn(number: int) -> int:
        return max((b for b in barriers if b < number), default=-1)

    found: list[tuple[int, int, Draw]] = []
    for node in drawing:
        if node in free:
            after = turn(node.number)
            found.append((after, node.number, Draw(node, ancestors(node), after)))
    for node, known in facts.items():
        if isinstance(known, DropFacts):
            nodes = _given(known)
            last = max((n.number for n in nodes), default=node.number)
            found.append((turn(last), last, Draw(known, nodes, turn(last))))
    for drop in branches.drops:
        last = max((n.number for n in drop.drawn), default=-1)
        after = min(turn(last), branches.first[drop] - 1)
        found.append((after, last, Draw(drop, drop.drawn, after)))
    return tuple(draw for *_, draw in sorted(found, key=lambda item: item[:2]))


def _given(drop: DropFacts) -> tuple[Node, ...]:
    """Return what the mask of a drop follows from, but for inputs."""
    return ancestors(*drop.drop.given)
