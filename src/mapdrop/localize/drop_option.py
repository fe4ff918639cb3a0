"""The kinds of dropout that have a name on the command line, and how the names are read."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

import mapdrop.torch
from mapdrop.tools.drop_kinds import DROP_KINDS
from mapdrop.torch import SpatialDropout2d


@dataclass(frozen=True)
class Kind:
    """One kind of dropout.

    Attributes:
        rate: the default; None where there is nothing to drop.
        layer: makes the layer from a rate and a block size.
        compact: the model runs compact: the same masks, but dropped maps are not computed.
    """

    rate: float | None
    layer: Callable[[float, int], nn.Module]
    compact: bool = False


def _named(name: str, rate: float | None = None) -> Kind:
    """Return a kind of mapdrop's at the rate that networks use, or at another."""
    kind = DROP_KINDS[name]

    def layer(p: float, size: int) -> nn.Module:
        options = {"block_size": size} if kind.block > 1 else {}
        made: nn.Module = kind.make_layer(mapdrop.torch, "2d", p, **options)
        return made

    return Kind(kind.p if rate is None else rate, layer)


KINDS = {
    "none": Kind(None, lambda p, size: nn.Identity()),
    "element": _named("element"),
    "spatial": _named("spatial"),
    # More than any paper uses (Ghiasi et al. 2018 drop 0.1), but far less than half.
    "block": _named("block", 0.2),
}
HEAT_MAP_BLOCK = 5
"""The usual side of a block, in pixels of a heat map, which is smaller than DropBlock's maps."""
SUFFIXES = ("balanced", "compact")


def kind(drop: str) -> Kind:
    """The kind of this name: of KINDS, or "spatial" or "share=N" with "+balanced", "+compact".

    Raises:
        ValueError: for a name that is none of them; it says what would be one.
    """
    if drop in KINDS:
        return KINDS[drop]
    name, *suffixes = drop.split("+")
    if name != "spatial" and not name.startswith("share="):
        raise ValueError(f"there is no dropout {drop!r}, only {', '.join(KINDS)}, share=N")
    # In this order and once each, so that one kind doesn't run twice under two names.
    if suffixes != [suffix for suffix in SUFFIXES if suffix in suffixes]:
        raise ValueError(
            f"spatial and share=N may have +balanced, +compact or +balanced+compact, got {drop!r}"
        )
    share = re.fullmatch("spatial|share=([1-9][0-9]{0,5})", name)
    if not share:
        raise ValueError(f"share=N: N samples have one mask, N from 1 to 999999, got {drop!r}")
    samples, balance = int(share[1] or 1), "balanced" in suffixes
    return Kind(
        KINDS["spatial"].rate,
        lambda p, size: SpatialDropout2d(p, share=samples, balance=balance),
        "compact" in suffixes,
    )
