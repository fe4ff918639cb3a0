"""A record: what is known of an operation, whatever it is called with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mapdrop.torch.graph.drops import MapDrop
from mapdrop.torch.graph.facts import Facts
from mapdrop.torch.graph.graph import Node
from mapdrop.torch.graph.lattice import MapSet
from mapdrop.torch.graph.sample_rules import SampleRule

MapsOf = Callable[[Node], tuple[int, int]]
"""Returns how many maps a node's result has, and of how many features each is."""
Rule = Callable[[Node, "Record", MapsOf], Facts | MapDrop | None]


def _never(node: Node) -> bool:
    return False


@dataclass(frozen=True)
class Record:
    """What is known of an operation.

    Attributes:
        rule: finds the facts of a call; it returns None for arguments by which maps are mixed.
        homogeneous: whether f(a * x) = a * f(x) for a > 0 and x all of its arrays; read by the
            rules that fit operations of both kinds.
        combine: what may be non-zero of a result of two arrays; None if 0 with 0 is not 0.
        draws: whether a call without facts draws random numbers.
        samples: finds where a call reads the samples of its result; None if they may meet.
        keeps_zeros: whether a sample of zeros becomes a sample of zeros.
    """

    rule: Rule
    homogeneous: bool = False
    combine: Callable[[MapSet, MapSet], MapSet] | None = None
    draws: Callable[[Node], bool] = _never
    samples: SampleRule | None = None
    keeps_zeros: bool = False
