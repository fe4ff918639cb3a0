"""What a study compares: a kind of dropout at a rate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

from torch import nn

from mapdrop.localize.kinds import HEAT_MAP_BLOCK, kind
from mapdrop.torch.compact import Costs

Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True)
class Condition:
    """A kind of dropout at a rate.

    Attributes:
        drop: what `kind` reads: "none", "block", "share=4+balanced+compact".
        rate: the mean share of values dropped; 0 for "none".
        block_size: side of a block in heat-map pixels, for "block".
    """

    drop: str
    rate: float
    block_size: int = HEAT_MAP_BLOCK

    @property
    def label(self) -> str:
        """For people: "none", "spatial 0.5", "share 4, balanced 0.5"."""
        name = self.drop.replace("=", " ").replace("+", ", ")
        return name if self.drop == "none" else f"{name} {self.rate:g}"

    @property
    def plain(self) -> Condition:
        """The same masks computed the ordinary way: "spatial" for "spatial+compact"."""
        return replace(self, drop=self.drop.removesuffix("+compact"))

    def layer(self) -> nn.Module:
        """A fresh layer."""
        return kind(self.drop).layer(self.rate, self.block_size)

    @property
    def compact(self) -> bool:
        """Whether dropped maps are not computed."""
        return kind(self.drop).compact

    def ready(self, model: Model, costs: Costs | None) -> Model:
        """`model`, which holds the layer, as it is trained and timed; its parameters are shared.

        `costs` decide what a compact model skips, and with it how its results are rounded; None
        leaves them to be measured.
        """
        if not self.compact:
            return model
        from mapdrop.torch import compact

        return compact(model, costs)
