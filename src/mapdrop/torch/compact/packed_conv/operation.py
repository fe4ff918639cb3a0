"""What a packed convolution is: its settings, the layouts of input and output, a factor, a ReLU."""

from __future__ import annotations

from dataclasses import dataclass

from mapdrop.torch.compact.packing.layout import Layout
from mapdrop.torch.compact.packing.static import StaticLayout
from mapdrop.torch.graph.settings import Convolution, Linear


@dataclass(frozen=True)
class PackedConv:
    """A convolution or Linear between packed or dense arrays, at least one of them packed.

    Attributes:
        settings: of the operation.
        source, target: the layouts of input and output, of one class; None if dense.
        gain: a factor of the input.
        relu: whether the output's negative values become 0 in the same pass.
    """

    settings: Convolution | Linear
    source: Layout | StaticLayout | None
    target: Layout | StaticLayout | None
    gain: float = 1.0
    relu: bool = False

    @property
    def samples(self) -> int:
        """The number of samples."""
        known = self.source or self.target
        assert known is not None
        return known.samples
