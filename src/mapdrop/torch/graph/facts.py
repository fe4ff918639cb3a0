"""Facts: which maps of its inputs an operation of a graph reads, and which it makes non-zero.

They may name more maps than is true, which makes a model slower but never wrong.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any, ClassVar

from mapdrop.torch.graph.drops import MapDrop
from mapdrop.torch.graph.graph import Node
from mapdrop.torch.graph.lattice import (
    AllMaps,
    Kept,
    MapSet,
    NoMaps,
    any_in_block,
    any_sample,
    channel_slice,
    concatenated,
    intersection,
    repeated,
)
from mapdrop.torch.graph.settings import Convolution, Linear


@dataclass(frozen=True, eq=False, kw_only=True)
class Facts(ABC):
    """What is true of one node.

    Attributes:
        sources: the nodes whose maps it reads.
        homogeneous: whether f(a * x) = a * f(x) for a > 0 and x all of the sources.
        copies: whether it writes a new array, and does not return a view of its source.
    """

    copies: ClassVar[bool] = True

    sources: tuple[Node, ...]
    homogeneous: bool = False

    @abstractmethod
    def nonzero(self, inputs: list[MapSet]) -> MapSet:
        """Return the maps of the output that may be non-zero, given those of the inputs."""

    @abstractmethod
    def live(self, output: MapSet) -> list[MapSet]:
        """Return the maps of each input that are read, given those of the output that are."""


@dataclass(frozen=True, eq=False, kw_only=True)
class PerMap(Facts):
    """The same function of every map. `keeps_zeros`: a map of zeros becomes a map of zeros."""

    keeps_zeros: bool

    def nonzero(self, inputs: list[MapSet]) -> MapSet:
        return inputs[0] if self.keeps_zeros else AllMaps(inputs[0].channels)

    def live(self, output: MapSet) -> list[MapSet]:
        return [output]


@dataclass(frozen=True, eq=False, kw_only=True)
class PerMapWithParameters(PerMap):
    """A function with parameters of each map: nodes whose first axis is that of the maps, or None.

    An entry alone is for every map.
    """

    parameters: tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class DepthwiseConvolution(PerMapWithParameters):
    """A convolution of every map with a kernel of its own."""


@dataclass(frozen=True, eq=False)
class BatchNormTraining(PerMapWithParameters):
    """BatchNorm by the statistics of the batch: all samples of a map are needed, or none."""

    def live(self, output: MapSet) -> list[MapSet]:
        return [any_sample(output)]


@dataclass(frozen=True, eq=False)
class Identity(PerMap):
    """A call that returns the values of its source, in any shape of the same maps."""

    copies = False


@dataclass(frozen=True, eq=False)
class Flatten(PerMap):
    """(samples, channels, *space) to (samples, features): a map becomes neighbouring features."""

    copies = False


@dataclass(frozen=True, eq=False, kw_only=True)
class Elementwise(Facts):
    """Arrays of the output's shape, or that broadcast to it.

    Attributes:
        combine: returns what may be non-zero of a result of two inputs.
        full: for each input, whether it has the output's samples and channels.
    """

    combine: Callable[[MapSet, MapSet], MapSet]
    full: tuple[bool, ...]
    channels: int

    def nonzero(self, inputs: list[MapSet]) -> MapSet:
        every = AllMaps(self.channels)
        return reduce(
            self.combine, [m if f else every for m, f in zip(inputs, self.full, strict=True)]
        )

    def live(self, output: MapSet) -> list[MapSet]:
        return [
            output if full else AllMaps(source.shape[1] if len(source.shape) > 1 else 1)
            for source, full in zip(self.sources, self.full, strict=True)
        ]


@dataclass(frozen=True, eq=False)
class Concatenate(Facts):
    """Arrays side by side along the channels."""

    def nonzero(self, inputs: list[MapSet]) -> MapSet:
        return concatenated(inputs)

    def live(self, output: MapSet) -> list[MapSet]:
        widths = [source.shape[1] for source in self.sources]
        firsts = [sum(widths[:i]) for i in range(len(widths))]
        return [channel_slice(output, a, n) for a, n in zip(firsts, widths, strict=True)]


@dataclass(frozen=True, eq=False, kw_only=True)
class Slice(Facts):
    """The `channels` channels from `first` on, as chunk, split and narrow return them."""

    first: int
    channels: int

    def nonzero(self, inputs: list[MapSet]) -> MapSet:
        return channel_slice(inputs[0], self.first, self.channels)

    def live(self, output: MapSet) -> list[MapSet]:
        rest = self.sources[0].shape[1] - self.first - self.channels
        pieces = [NoMaps(self.first), output, NoMaps(rest)]
        return [concatenated([p for p in pieces if p.channels])]


@dataclass(frozen=True, eq=False, kw_only=True)
class ChannelMixing(Facts):
    """A convolution or Linear: it need not read zeros, nor compute outputs that are not read.

    Attributes:
        weight, bias: the nodes; the bias may be None.
        settings: of the operation.
        pad: what is done to the input first, map by map: arguments of `F.pad`; or None.
        inputs, features: how many maps it reads, and how many features of a Linear each has.
        outputs: how many maps it makes.
        kernel: the size of the kernel.
    """

    weight: Node
    bias: Node | None
    settings: Convolution | Linear
    pad: tuple[int, ...] | None = None
    inputs: int
    outputs: int
    kernel: tuple[int, ...]

    def nonzero(self, inputs: list[MapSet]) -> MapSet:
        """Return all maps: each is a sum over all inputs."""
        return AllMaps(self.outputs)

    def live(self, output: MapSet) -> list[MapSet]:
        """Return all input maps of every sample of which any output is read."""
        return [repeated(any_in_block(output, output.channels), self.inputs)]


@dataclass(frozen=True, eq=False, kw_only=True)
class DropFacts(Facts):
    """A drop of whole maps. What it drops is zero after it and not live before it."""

    drop: MapDrop
    kept: Kept

    def nonzero(self, inputs: list[MapSet]) -> MapSet:
        return intersection(inputs[0], self.kept)

    def live(self, output: MapSet) -> list[MapSet]:
        return [intersection(output, self.kept)]
