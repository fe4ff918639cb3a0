"""What a study compares: a kind of dropout at a rate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from mapdrop.torch import DropBlock2d, Dropout, SpatialDropout2d

BLOCK_SIZE = 5


@dataclass(frozen=True)
class Kind:
    """One kind of dropout.

    Attributes:
        rate: the default; None where there is nothing to drop.
        layer: makes the layer from a rate and a block size.
    """

    rate: float | None
    layer: Callable[[float, int], nn.Module]


KINDS = {
    "none": Kind(None, lambda p, size: nn.Identity()),
    "element": Kind(0.5, lambda p, size: Dropout(p)),
    "spatial": Kind(0.5, lambda p, size: SpatialDropout2d(p)),
    # Half of it all in blocks is far more than any paper uses; Ghiasi et al. (2018) drop 0.1.
    "block": Kind(0.2, lambda p, size: DropBlock2d(p, block_size=size)),
}


@dataclass(frozen=True)
class Condition:
    """A kind of dropout at a rate.

    Attributes:
        drop: a key of KINDS.
        rate: the mean share of values dropped; 0 for "none".
        block_size: side of a block in heat-map pixels, for "block".
    """

    drop: str
    rate: float
    block_size: int = BLOCK_SIZE

    @property
    def label(self) -> str:
        """For people: "none", "spatial 0.5"."""
        return self.drop if self.drop == "none" else f"{self.drop} {self.rate:g}"

    def layer(self) -> nn.Module:
        """A fresh layer."""
        return KINDS[self.drop].layer(self.rate, self.block_size)
