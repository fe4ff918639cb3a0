"""The usual kinds of dropout: what each drops, at which rate, and the layers that do it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

BLOCK_SIZE = 7
"""Side of DropBlock's blocks, as its authors have it."""


@dataclass(frozen=True)
class DropKind:
    """A kind of dropout.

    Attributes:
        name: its name on the command line and in rows.
        title: what falls together, for people; `{places}` and `{maps}` are the array's words.
        first, last: the pattern for channels first and last.
        coins: the roles of the axes that have coins of their own: b, s (each axis of space) and c.
        p: the rate that networks use.
        block: the side of the blocks that fall together, along each axis of space; 1 for none.
        layer: the layer's name, with `{}` for the number of dimensions; empty where there is none.
    """

    name: str
    title: str
    first: str
    last: str
    coins: str
    p: float = 0.5
    block: int = 1
    layer: str = ""

    @property
    def options(self) -> dict[str, Any]:
        """What `mapdrop.drop` takes beside the pattern and p, for images."""
        return {"block": {"h": self.block, "w": self.block}} if self.block > 1 else {}

    def mask_shape(self, size: Sequence[int]) -> tuple[int, ...]:
        """Return the mask's shape for an array of this size, channels last, but for blocks."""
        roles = ("b", *"s" * (len(size) - 2), "c")
        return tuple(n if role in self.coins else 1 for n, role in zip(size, roles, strict=True))

    def make_layer(self, module: Any, dims: str, p: float | None = None, **options: Any) -> Any:
        """Make a module's layer for "1d", "2d" or "3d", as the module writes it."""
        if self.block > 1:
            options = {"block_size": self.block, **options}
        made = getattr(module, self.layer.format(dims))
        return made(self.p if p is None else p, **options)


_ALL = (
    DropKind(
        "element",
        "single values",
        "b c ... -> b c ...",
        "b ... c -> b ... c",
        "bsc",
        layer="Dropout",
    ),
    DropKind("place", "whole {places}", "b c ... -> b ...", "b ... c -> b ...", "bs"),
    DropKind(
        "spatial",
        "whole {maps}",
        "b c ... -> b c",
        "b ... c -> b c",
        "bc",
        layer="SpatialDropout{}",
    ),
    DropKind(
        "block",
        "blocks",
        "b c h w -> b h w c",
        "b h w c -> b h w c",
        "bsc",
        0.1,
        BLOCK_SIZE,
        "DropBlock{}",
    ),
    DropKind("path", "whole samples", "b ... -> b", "b ... -> b", "b", 0.2, layer="DropPath"),
)
DROP_KINDS = {kind.name: kind for kind in _ALL}
"""All of them, by name."""
