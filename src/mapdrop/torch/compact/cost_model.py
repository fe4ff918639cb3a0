"""What skipping saves, and where it pays: from shapes, rates and a machine's constants."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any

from torch import fx

from mapdrop.torch.compact.lattice import Maps, Whole
from mapdrop.torch.compact.ops.linear import Mixing, Size
from mapdrop.torch.compact.packing.layout import BLOCK

if TYPE_CHECKING:
    from mapdrop.torch.compact.dataflow import Analysis

_BYTES, _PASSES = 4, 3  # float32; a training step computes an output and two gradients.
_ROWS, _PIXELS = 4, 8  # Maps, and pixels of each, that mapdrop's own kernels make at a time.


@dataclass(frozen=True)
class Costs:
    """A machine's constants. `measured()` gives those of this machine.

    Attributes:
        flops: multiplications and additions a second, in PyTorch's convolutions of many maps.
        own: the same in mapdrop's, of chosen maps.
        weights: bytes a second in which PyTorch's convolutions reorder a weight, and in which a
            run's part of it is picked, used and added back where they do runs of samples with the
            same maps.
        activations: bytes a second in which arrays are read, written and reordered.
        call: seconds that an operation, or a run of samples in it, costs beside its arithmetic.
        margin: an operation skips only where that is predicted to save this share of it.
        least: a model skips only where that is predicted to save this share of its step: what runs
            beside the operations, which no prediction knows, may cost as much.
    """

    flops: float = 160e9
    own: float = 145e9
    weights: float = 5e9
    activations: float = 10e9
    call: float = 100e-6
    margin: float = 0.15
    least: float = 0.05

    def seconds(self, size: Size, reads: Maps, makes: Maps) -> float:
        """Of a training step's three passes over one operation that skips so."""
        if type(reads) is Whole and type(makes) is Whole:
            return self._plain(size, size.inputs, size.outputs, 1)
        if size.direct:
            return self._direct(size, reads, makes)
        runs = max(reads.runs, makes.runs)
        inputs, outputs = _filled(reads, BLOCK), _filled(makes, BLOCK)
        weights = runs * inputs * outputs * size.kernel * _BYTES / self.weights
        return self._plain(size, inputs, outputs, runs) + _PASSES * weights

    def _plain(self, size: Size, inputs: float, outputs: float, runs: int) -> float:
        products = size.samples * inputs * outputs * size.kernel * size.space_out
        weight = 2 * size.inputs * size.outputs * size.kernel * _BYTES / self.weights
        passing = self._moving(size, inputs, outputs) + runs * self.call
        return _PASSES * (2 * products / self.flops + weight + passing)

    def _direct(self, size: Size, reads: Maps, makes: Maps) -> float:
        inputs, outputs = _filled(reads, _ROWS), _filled(makes, _ROWS)
        weights = size.samples * inputs * outputs * size.kernel  # Each sample's part, each once.
        pixels = -(-size.space_out // _PIXELS) * _PIXELS
        product = 2 * weights * pixels / self.own + 2 * weights * _BYTES / self.activations
        # Copies are read again as often as there are maps made of them, but written only once.
        copied = (2 * inputs * size.space_out + outputs * size.space_in) * size.copies * _BYTES
        copying = size.samples * copied / self.activations
        return _PASSES * (product + self._moving(size, inputs, outputs) + self.call) + copying

    def _moving(self, size: Size, inputs: float, outputs: float) -> float:
        values = size.samples * (inputs * size.space_in + outputs * size.space_out)
        return values * _BYTES / self.activations

    def copying(self, shape: tuple[int, ...], share: float) -> float:
        """Of moving that share of an array, forward and backward."""
        return 2 * 2 * prod(shape) * share * _BYTES / self.activations


def _filled(maps: Maps, block: int) -> float:
    """How many of the channels a sample is expected to have, filled up to blocks."""
    if type(maps) is Whole:
        return maps.channels
    return min(maps.channels, maps.density * maps.channels + block / 2)


@dataclass
class Operation:
    """One mixing operation: what could be skipped and what is, with predicted seconds a step."""

    node: fx.Node
    rule: Mixing
    reads: Maps
    makes: Maps
    skip_reads: bool = False
    skip_makes: bool = False

    def seconds(self, costs: Costs) -> float:
        """As chosen."""
        size = self.rule.size
        return costs.seconds(
            size,
            self.reads if self.skip_reads else Whole(size.inputs),
            self.makes if self.skip_makes else Whole(size.outputs),
        )

    def whole(self, costs: Costs) -> float:
        """With nothing skipped."""
        size = self.rule.size
        return costs.seconds(size, Whole(size.inputs), Whole(size.outputs))


@dataclass
class Choice:
    """The nodes that are stored packed, the operations that read packed, and all of them.

    `too_little` says that some would have skipped, had that saved more of the whole.
    """

    costs: Costs
    operations: list[Operation] = field(default_factory=list)
    packed: set[fx.Node] = field(default_factory=set)
    reads_packed: set[fx.Node] = field(default_factory=set)
    too_little: bool = False


def choose(analysis: Analysis, costs: Costs) -> Choice:
    """Skip where it pays: one decision for each side of an operation, changed while it helps."""
    operations = [
        Operation(node, rule, analysis.needed[rule.reads[0]], analysis.needed[node])
        for node, rule in analysis.rules.items()
        if isinstance(rule, Mixing)
    ]
    groups = _groups(analysis)
    sides = [
        (operation, side)
        for operation in operations
        for side, maps in (("skip_reads", operation.reads), ("skip_makes", operation.makes))
        if type(maps) is not Whole and analysis.drops
    ]
    for operation, side in sides:
        setattr(operation, side, True)
    total = _total(analysis, operations, groups, costs)
    improved = True
    while improved:
        improved = False
        for operation, side in sides:
            setattr(operation, side, not getattr(operation, side))
            other = _total(analysis, operations, groups, costs)
            if other < total:
                total, improved = other, True
            else:
                setattr(operation, side, not getattr(operation, side))
    idle = _idle(analysis, operations, groups, costs)
    too_little = idle - total < costs.least * idle
    if too_little:
        for operation, side in sides:
            setattr(operation, side, False)
    choice = _settled(operations, groups, costs)
    choice.too_little = too_little and total < idle
    return choice


def _settled(operations: list[Operation], groups: dict[fx.Node, int], costs: Costs) -> Choice:
    active = _active(operations, groups)
    whole = {o.node for o in operations if not o.skip_makes}
    packed = {node for node, group in groups.items() if group in active and node not in whole}
    return Choice(costs, operations, packed, {o.node for o in operations if o.skip_reads})


def _active(operations: list[Operation], groups: dict[fx.Node, int]) -> set[int]:
    """The groups of nodes that some operation uses packed."""
    used: set[int] = set()
    for operation in operations:
        source = operation.rule.reads[0]
        if operation.skip_makes and operation.node in groups:
            used.add(groups[operation.node])
        if operation.skip_reads and source in groups:
            used.add(groups[source])
    return used


def _groups(analysis: Analysis) -> dict[fx.Node, int]:
    """Neighbouring nodes that are packed together or not at all, each with its group's number."""
    group: dict[fx.Node, int] = {}
    for node, rule in analysis.rules.items():
        if type(analysis.needed[node]) is Whole:
            continue
        group[node] = len(group)
        if isinstance(rule, Mixing):
            continue
        for source in rule.reads:
            if source in group:
                old, new = group[source], group[node]
                group = {n: new if g == old else g for n, g in group.items()}
    return group


def _idle(analysis: Analysis, operations: list[Operation], groups: Any, costs: Costs) -> float:
    """Predicted seconds with nothing skipped."""
    kept = [(o.skip_reads, o.skip_makes) for o in operations]
    for operation in operations:
        operation.skip_reads = operation.skip_makes = False
    total = _total(analysis, operations, groups, costs)
    for operation, (reads, makes) in zip(operations, kept, strict=True):
        operation.skip_reads, operation.skip_makes = reads, makes
    return total


def _total(
    analysis: Analysis, operations: list[Operation], groups: dict[fx.Node, int], costs: Costs
) -> float:
    """Predicted seconds of a step: the mixing, the passes between, and packing and unpacking.

    An operation that skips is charged the margin on top.
    """
    choice = _settled(operations, groups, costs)
    seconds = sum(operation.seconds(costs) for operation in operations)
    skipping = [o for o in operations if o.skip_reads or o.skip_makes]
    seconds += costs.margin * sum(operation.whole(costs) for operation in skipping)
    for node, rule in analysis.rules.items():
        shape = tuple(node.meta["val"].shape)
        packed = node in choice.packed
        share = analysis.needed[node].density
        if not isinstance(rule, Mixing):
            seconds += costs.copying(shape, share if packed else 1.0)
        for source in rule.reads:
            reads_packed = node in choice.reads_packed if isinstance(rule, Mixing) else packed
            if reads_packed != (source in choice.packed):
                seconds += costs.copying(
                    tuple(source.meta["val"].shape), analysis.needed[source].density
                )
    return seconds
