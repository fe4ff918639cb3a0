"""How an array is stored, and the state of one step: its masks and the layouts made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from mapdrop.torch.compact.packing.gather import convert
from mapdrop.torch.compact.packing.kept import KeptSamples
from mapdrop.torch.compact.packing.layout import Layout, dense_layout
from mapdrop.torch.compact.packing.static import StaticLayout
from mapdrop.torch.compact.packing.static_kept import StaticKeptSamples
from mapdrop.torch.graph.drops import Drawn
from mapdrop.torch.graph.lattice import AllMaps, Bits, Concatenated, Kept, MapSet, NoMaps
from mapdrop.torch.graph.sample_axis import Samples


@dataclass(frozen=True)
class Storage:
    """How an array is stored.

    Attributes:
        maps: the maps that it has; None if it is dense.
        gain: a factor still to be applied.
        samples: the samples that it has; None for all.
    """

    maps: MapSet | None = None
    gain: float = 1.0
    samples: Samples | None = None

    @property
    def packed(self) -> bool:
        """Whether some maps are left out."""
        return self.maps is not None


DENSE = Storage()


class StepState:
    """One call: the masks drawn so far, and layouts whose rows come in multiples of `block`."""

    kept_kind: ClassVar[type[KeptSamples]] = KeptSamples
    samples: int
    block: int

    def __init__(self, samples: int, block: int) -> None:
        self.samples, self.block = samples, block
        self.drawn: dict[int, Drawn] = {}
        self.kept: KeptSamples = self.kept_kind()
        self._layouts: dict[MapSet, Any] = {}
        self._parts: dict[frozenset[int], StepState] = {}

    def part(self, samples: Samples | None) -> StepState:
        """Return the state of the same step for some samples."""
        if samples is None:
            return self
        if samples.drops not in self._parts:
            self._parts[samples.drops] = _Part(self, samples.drops)
        return self._parts[samples.drops]

    def layout(self, maps: MapSet | None) -> Any:
        """Return the layout of a set; None if it is all maps."""
        if maps is None or isinstance(maps, AllMaps):
            return None
        if maps not in self._layouts:
            self._layouts[maps] = self._make_layout(maps)
        return self._layouts[maps]

    def _bits(self) -> dict[int, Bits]:
        return {number: drawn.bits for number, drawn in self.drawn.items()}

    def _make_layout(self, maps: MapSet) -> Any:
        if isinstance(maps, Concatenated):
            return Layout.concatenated([self.layout_or_dense(part) for part in maps.parts])
        # Few operations take an array without a map. A part of a concatenation may have none.
        least = 0 if isinstance(maps, NoMaps) else 1
        return Layout.from_bits(maps.bits(self._bits(), self.samples), self.block, least)

    def layout_or_dense(self, maps: MapSet) -> Layout:
        """Return the layout of a set; the dense layout if it is all maps."""
        return self.layout(maps) or dense_layout(self.samples, maps.channels)

    def convert(
        self, values: Tensor, source: Storage, target: Storage, shape: Sequence[int] = ()
    ) -> Tensor:
        """Return an array in another storage; `shape` is that of the dense result."""
        part = self.part(source.samples)
        dense_shape = (part.samples, *shape[1:]) if source.packed else shape
        if source.samples == target.samples:
            return part.moved(values, source, target, dense_shape)
        every = part.moved(values, source, DENSE, dense_shape)
        some = self.kept.move(every, source.samples, target.samples)
        return self.part(target.samples).moved(some, DENSE, target, some.shape)

    def moved(
        self, values: Tensor, source: Storage, target: Storage, shape: Sequence[int] = ()
    ) -> Tensor:
        """Return an array of these samples in another storage."""
        moved = self._move(values, self.layout(source.maps), self.layout(target.maps), shape)
        return moved if source.gain == target.gain else moved * (source.gain / target.gain)

    def _move(self, values: Tensor, source: Any, target: Any, shape: Sequence[int]) -> Tensor:
        return convert(values, source, target, shape)


class _Part(StepState):
    """The state of a step for the samples that some drops keep, in arrays that begin with them."""

    def __init__(self, whole: StepState, drops: frozenset[int]) -> None:
        super().__init__(whole.kept.count(drops), whole.block)
        self._whole, self._drops = whole, drops
        self.drawn = whole.drawn

    def _bits(self) -> dict[int, Bits]:
        kept = self._whole.kept.numbers(self._drops)
        return {number: bits[kept] for number, bits in self._whole._bits().items()}


class StaticStepState(StepState):
    """A step whose masks are tensors on the device, so that shapes are static."""

    kept_kind: ClassVar[type[KeptSamples]] = StaticKeptSamples

    def _make_layout(self, maps: MapSet) -> StaticLayout:
        assert isinstance(maps, Kept)
        return StaticLayout.from_bits(maps, self.drawn[maps.number].bits, self.block)

    def _move(
        self,
        values: Tensor,
        source: StaticLayout | None,
        target: StaticLayout | None,
        shape: Sequence[int],
    ) -> Tensor:
        if source is target:
            return values
        dense = values if source is None else source.unpack(values)
        return dense.reshape(shape) if target is None else target.pack(dense)
