"""What a benchmark compares: our work, a peer's, and what bounds both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Work = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """One comparison. `make` builds the inputs and returns ours, the peer's and limits' work."""

    name: str
    make: Callable[[], dict[str, Work]]
    peer: str
    reach: float  # ours / peer at most
    rounds: int = 15
    calls: int = 1
    limit: str | None = None  # work that bounds it from below: a copy
    limit_reach: float | None = None
