"""The cost model: what skipping saves, from shapes, rates and a machine's constants."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from mapdrop.torch.compact.packed_conv.cpu import supports
from mapdrop.torch.compact.packing.layout import BLOCK
from mapdrop.torch.graph.facts import ChannelMixing
from mapdrop.torch.graph.graph import Node
from mapdrop.torch.graph.lattice import AllMaps, MapSet

PASSES = 3  # A training step computes an output and two gradients.
_BYTES = 4  # float32
_MOVES = 3  # PyTorch's convolutions copy what they read and what they make into another order.
_ROWS, _PIXELS = 4, 8  # Mapdrop's kernels compute tiles of so many maps and pixels.
_READ = 8  # They read a factor of a weight in the time that they multiply so many pixels by it.
_FAR = 20  # And one that no cache near a core holds in the time of so many.
_LINE = 16  # Factors in a line of a cache.
_CACHE = 1 << 20  # Bytes of a weight that stay near a core while it goes from sample to sample.


@dataclass(frozen=True)
class Workload:
    """The sizes of a convolution or Linear.

    `copies` of each map are made by mapdrop's own kernels; 0 if they do not do the operation.
    """

    samples: int
    inputs: int
    outputs: int
    kernel: int
    space_in: int
    space_out: int
    copies: int = 0

    @property
    def own_kernels(self) -> bool:
        """Whether mapdrop's own kernels do it."""
        return self.copies > 0

    @property
    def weight_bytes(self) -> int:
        """The size of the weight."""
        return self.inputs * self.outputs * self.kernel * _BYTES

    @classmethod
    def of(cls, node: Node, facts: ChannelMixing, static: bool) -> Workload:
        """Return the sizes of a node. Where masks stay on a device, no kernel can read them."""
        (source,), kernel = facts.sources, facts.kernel
        # Under autocast the result's type is not the weight's.
        own = not static and supports(facts.settings, node.value, facts.weight.value)
        return cls(
            node.shape[0],
            facts.inputs,
            facts.outputs,
            prod(kernel),
            prod(source.shape[2:]),
            prod(node.shape[2:]),
            prod(kernel[1:]) if own else 0,
        )


@dataclass(frozen=True)
class Costs:
    """Hold a machine's constants, by which `compact` decides where skipping pays.

    `calibrate()` returns those of this machine. Two runs with equal constants skip the same.

    Attributes:
        flops: multiplications and additions per second of PyTorch's convolutions of many maps.
        own: the same of mapdrop's convolutions of chosen maps.
        weights: bytes per second at which PyTorch's convolutions reorder a weight. Where they work
            run by run, also bytes per second at which a run's part of the weight is gathered, used
            and added back.
        activations: bytes per second at which arrays are read, written and reordered.
        call: seconds that an operation, or a run of samples in it, costs besides its arithmetic.
        own_call: the same of mapdrop's convolutions.
        margin: an operation skips only if that is predicted to save this share of its time.
        least: a model skips only if that is predicted to save this share of its step, beyond the
            margins. What runs besides the operations is not predicted, and may cost as much.

    Examples:
        >>> from mapdrop.torch.compact import Costs
        >>> always = Costs(own=1e15, own_call=0.0, margin=0.0, least=0.0)  # Skip all that can be.
        >>> net = nn.Sequential(nn.Conv2d(3, 64, 3), nn.Dropout2d(0.5), nn.Conv2d(64, 9, 1))
        >>> fast = mapdrop.torch.compact(net, always)
        >>> fast(torch.ones(8, 3, 16, 16)).shape
        torch.Size([8, 9, 14, 14])
        >>> [line.makes for line in mapdrop.torch.compact_report(fast).lines]
        [0.5, 1.0]
    """

    flops: float = 160e9
    own: float = 145e9
    weights: float = 5e9
    activations: float = 10e9
    call: float = 100e-6
    own_call: float = 300e-6
    margin: float = 0.05
    least: float = 0.01

    def seconds(self, work: Workload, reads: MapSet, makes: MapSet) -> float:
        """Predict the seconds of a training step's three passes over one operation.

        Args:
            work: its sizes.
            reads: the input maps that it reads.
            makes: the output maps that it computes.
        """
        if isinstance(reads, AllMaps) and isinstance(makes, AllMaps):
            return self._by_torch(work, work.inputs, work.outputs, 1)
        if work.own_kernels:
            return self._by_own_kernels(work, reads, makes)
        runs = max(reads.runs, makes.runs)
        inputs, outputs = _padded(reads, BLOCK), _padded(makes, BLOCK)
        weights = runs * inputs * outputs * work.kernel * _BYTES / self.weights
        return self._by_torch(work, inputs, outputs, runs) + PASSES * weights

    def _by_torch(self, work: Workload, inputs: float, outputs: float, runs: int) -> float:
        products = work.samples * inputs * outputs * work.kernel * work.space_out
        moves = _MOVES * self._moves(work, inputs, outputs) + runs * self.call
        return PASSES * (2 * products / self.flops + self._reordered(work) + moves)

    def _by_own_kernels(self, work: Workload, reads: MapSet, makes: MapSet) -> float:
        inputs, outputs = _padded(reads, 0), _padded(makes, 0)
        # A pass pads the maps that it makes, not those that it reads.
        padded = (inputs * _padded(makes, _ROWS) + _padded(reads, _ROWS) * outputs) / 2
        pixels = -(-work.space_out // _PIXELS) * _PIXELS
        each = max(pixels + _READ, _reading(work, inputs))  # Each sample reads its part once.
        product = 2 * work.samples * padded * work.kernel * each / self.own
        # Copies are read once for each output map, but written only once.
        copied = (2 * inputs * work.space_out + outputs * work.space_in) * work.copies * _BYTES
        copying = work.samples * copied / self.activations
        moves = self._moves(work, inputs, outputs) + self.own_call
        return PASSES * (product + self._reordered(work) + moves) + copying

    def _reordered(self, work: Workload) -> float:
        """Predict the seconds of reordering the whole weight, or of writing its gradient."""
        return 2 * work.weight_bytes / self.weights

    def _moves(self, work: Workload, inputs: float, outputs: float) -> float:
        values = work.samples * (inputs * work.space_in + outputs * work.space_out)
        return values * _BYTES / self.activations

    def copy_seconds(self, shape: tuple[int, ...], share: float) -> float:
        """Predict the seconds of copying a share of an array, forward and backward."""
        return 2 * 2 * prod(shape) * share * _BYTES / self.activations

    def packing_seconds(self, shape: tuple[int, ...], share: float) -> float:
        """Predict the seconds of packing or unpacking an array, forward and backward."""
        return self.copy_seconds(shape, share) + 2 * self.call


def _reading(work: Workload, inputs: float) -> float:
    """Return how many pixels could be multiplied while one factor of a weight is read.

    What no cache holds is read anew for each sample, in whole lines.
    """
    beyond = max(0.0, 1 - _CACHE / max(1, work.weight_bytes))
    lines = min(1 + _LINE / work.kernel, work.inputs / max(1, inputs))
    return _FAR * lines * beyond


def _padded(maps: MapSet, block: int) -> float:
    """Return the expected number of channels of a sample, padded to blocks."""
    if isinstance(maps, AllMaps):
        return maps.channels
    return min(maps.channels, maps.density * maps.channels + block / 2)
