"""The conditions that a study compares: kinds of dropout at a rate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

from torch import nn

from mapdrop.localize.drop_option import HEAT_MAP_BLOCK, kind
from mapdrop.torch.compact import Costs

Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True)
class Condition:
    """A kind of dropout at a rate.

    Attributes:
        drop: a name for `kind`: "none", "block", "share=4+balanced+compact".
        rate: the mean fraction of values dropped; 0 for "none".
        block_size: side of a block in heat-map pixels, for "block".
    """

    drop: str
    rate: float
    block_size: int = HEAT_MAP_BLOCK

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Condition:
        """Return the condition that a row is about."""
        return cls(**{field.name: row[field.name] for field in fields(cls)})

    @property
    def label(self) -> str:
        """Return a readable name: "none", "spatial 0.5", "share 4, balanced 0.5"."""
        name = self.drop.replace("=", " ").replace("+", ", ")
        return name if self.drop == "none" else f"{name} {self.rate:g}"

    @property
    def plain(self) -> Condition:
        """Return the same condition without "+compact": the same masks, computed densely."""
        return replace(self, drop=self.drop.removesuffix("+compact"))

    def layer(self) -> nn.Module:
        """Return a new layer."""
        return kind(self.drop).layer(self.rate, self.block_size)

    @property
    def compact(self) -> bool:
        """Return whether computing dropped maps is skipped."""
        return kind(self.drop).compact

    def prepare(self, model: Model, costs: Costs | None) -> Model:
        """Return a view of `model`, which holds the layer, as it is trained and timed.

        Args:
            model: shares its parameters with the result.
            costs: constants by which a compact model decides what to skip, which affects rounding;
                None means that they are calibrated.
        """
        if not self.compact:
            return model
        from mapdrop.torch import compact

        return compact(model, costs)
