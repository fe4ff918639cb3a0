"""The kinds of dropout that are timed, as patterns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

BLOCK = 7
"""Side of DropBlock's blocks, as its authors have it."""


@dataclass(frozen=True)
class Operation:
    """What is dropped, at which rate.

    Attributes:
        first, last: the pattern, for channels first and last.
        p: the rate that networks use.
        block: blocks, by axis.
    """

    first: str
    last: str
    p: float
    block: tuple[tuple[str, int], ...] = ()

    @property
    def options(self) -> dict[str, Any]:
        """What `mapdrop.drop` takes beside the pattern and p."""
        return {"block": dict(self.block)} if self.block else {}


OPERATIONS = {
    "element": Operation("b c ... -> b c ...", "b ... c -> b ... c", 0.5),
    "spatial": Operation("b c ... -> b c", "b ... c -> b c", 0.5),
    "block": Operation(
        "b c h w -> b h w c", "b h w c -> b h w c", 0.1, (("h", BLOCK), ("w", BLOCK))
    ),
    "path": Operation("b ... -> b", "b ... -> b", 0.2),
}
