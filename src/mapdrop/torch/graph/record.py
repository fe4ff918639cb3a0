"""A record: what is known of an operation, whatever it is called with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mapdrop.torch.graph.drops import MapDrop
from mapdrop.torch.graph.facts import Facts
from mapdrop.torch.graph.graph import Node
from mapdrop.torch.graph.lattice import MapSet

MapsOf = Callable[[Node], tuple[int, int]]
"""Returns how many maps a node's result has, and of how many features each is."""
Rule = Callable[[Node, "Record", MapsOf], Facts | MapDrop | None]


@dataclass(frozen=True)
class Record:
    """What is known of an operation.

    Attributes:
        rule: finds the facts of a call; it returns None for arguments by which maps are mixed.
        homogeneous: whether f(a * x) = a * f(x) for a > 0 and x all of its arrays.
        combine: what may be non-zero of a result of two arrays; None if 0 with 0 is not 0.
        draws: whether a call without facts draws random numbers.
    """

    rule: Rule
    homogeneous: bool = False
    combine: Callable[[MapSet, MapSet], MapSet] | None = None
    draws: bool = False
