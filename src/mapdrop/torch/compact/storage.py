"""How an array is stored, and what is known in one call of a planned model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mapdrop.torch.compact.drops import Drawn
from mapdrop.torch.compact.lattice import Joined, Maps, Nothing, Whole
from mapdrop.torch.compact.packing.gather import convert
from mapdrop.torch.compact.packing.layout import Layout, whole


@dataclass(frozen=True)
class Form:
    """An array's storage: the maps that it has (None: whole), and a factor that it still lacks."""

    maps: Maps | None = None
    gain: float = 1.0

    @property
    def packed(self) -> bool:
        """Whether some maps are left out."""
        return self.maps is not None


WHOLE = Form()


class Scope:
    """One call: its masks, and the layouts made from them, of multiples of `block` rows."""

    def __init__(self, samples: int, block: int) -> None:
        self.samples, self.block = samples, block
        self.drawn: dict[int, Drawn] = {}
        self._layouts: dict[Maps, Any] = {}

    def layout(self, maps: Maps | None) -> Any:
        """Where the maps lie; None for all of them."""
        if maps is None or type(maps) is Whole:
            return None
        if maps not in self._layouts:
            self._layouts[maps] = self._layout(maps)
        return self._layouts[maps]

    def _layout(self, maps: Maps) -> Layout:
        if isinstance(maps, Joined):
            return Layout.joined([self.every(part) for part in maps.parts])
        bits = {number: drawn.bits for number, drawn in self.drawn.items()}
        # Few operations take an array without a single map; beside others there may be none.
        least = 0 if type(maps) is Nothing else 1
        return Layout.of(maps.bits(bits, self.samples), self.block, least)

    def every(self, maps: Maps) -> Layout:
        """Where the maps lie, all of them too."""
        return self.layout(maps) or whole(self.samples, maps.channels)

    def convert(self, values: Tensor, source: Form, target: Form, shape: Any) -> Tensor:
        """An array in another form."""
        moved = convert(values, self.layout(source.maps), self.layout(target.maps), shape)
        return moved if source.gain == target.gain else moved * (source.gain / target.gain)


Env = dict[Any, Any]
Run = Callable[[Env, Scope], Any]
