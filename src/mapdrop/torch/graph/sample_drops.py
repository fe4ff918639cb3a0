"""Drops of whole samples in a graph: mapdrop's own, and products with a drawn mask.

Other libraries write drop path in a few operations, which a captured graph has in its own order:
random numbers, one for each sample or for the whole batch, become a mask of zeros and factors; the
branch is multiplied by it. A product counts if one factor follows from random numbers alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mapdrop.torch.graph.drops import PatternDrop, pattern_drop_of
from mapdrop.torch.graph.graph import Graph, Node, caller
from mapdrop.torch.graph.sample_axis import SampleAxis

_TRIALS = 256  # Numbers of a mask that are drawn to estimate how many samples it keeps.


@dataclass(frozen=True, eq=False)
class SampleDrop:
    """A drop of whole samples.

    Attributes:
        number: its place among the drops of a graph.
        node: the drop or product.
        source: what is dropped.
        at: where the samples are, in both.
        given: the node of the drawn mask; for mapdrop's own what it follows from, a seed and, if
            that is scheduled, a rate.
        drop: what mapdrop's own drops; None for a product.
        kept: the expected share of samples that are kept.
        drawn: the nodes that the mask follows from, in order.
        most: how many samples its branch runs for at most, if the drop ties them; or None.
    """

    number: int
    node: Node
    source: Node
    at: SampleAxis
    given: tuple[Node, ...]
    drop: PatternDrop | None
    kept: float
    drawn: tuple[Node, ...]
    most: int | None = None

    @property
    def limited(self) -> bool:
        """Whether it is known that a branch need not run for some samples."""
        return self.most is not None and self.most < self.at.samples

    def factors(self, *given: Tensor) -> Tensor:
        """Return what each sample is multiplied by: (samples,), 0 for those that are dropped."""
        if self.drop is not None:
            return self.drop.sample_factors(*given)
        (mask,) = given
        flat = mask.detach().flatten()
        # A mask for the batch has one number. An operation more counts here.
        return flat if len(flat) == self.at.samples else flat.expand(self.at.samples)

    def factors_on_device(self, *given: Tensor) -> Tensor:
        """As `factors`, but nothing waits for the mask's device."""
        return (self.factors if self.drop is None else self.drop.factors_on_device)(*given)


def sample_drops(graph: Graph) -> tuple[SampleDrop, ...]:
    """Return the drops of whole samples, in order."""
    found: list[SampleDrop] = []
    masks = _masks(graph)
    for node in graph.nodes:
        made = _own(node, len(found)) or _product(node, len(found), masks)
        if made is not None and made.at.samples and not node.region:
            found.append(made)
    return tuple(found)


def _own(node: Node, number: int) -> SampleDrop | None:
    if node.operation != "mapdrop.drop":
        return None
    drop = pattern_drop_of(node, counted=True)
    if drop is None or not drop.of_samples:
        return None
    at, given = SampleAxis(0, node.shape[0]), drop.given
    drawn, most = ancestors(*given), drop.most_samples
    return SampleDrop(number, node, node.args[0], at, given, drop, drop.density, drawn, most)


def _product(node: Node, number: int, drawn: frozenset[Node]) -> SampleDrop | None:
    if node.operation != "mul" or not node.is_array or len(node.args) != 2:
        return None
    masks = [a for a in node.args if isinstance(a, Node) and a in drawn]
    sources = [a for a in node.args if isinstance(a, Node) and a not in drawn]
    if len(masks) != 1 or len(sources) != 1 or not node.shape:
        return None
    (mask,), (source,) = masks, sources
    at = _place(mask.shape, node.shape)
    dtype = node.value.dtype
    same = source.shape == node.shape and source.value.dtype == dtype
    if at is None or not same or not (dtype.is_floating_point or dtype.is_complex):
        return None
    return SampleDrop(number, node, source, at, (mask,), None, _share(mask), ancestors(mask))


def _place(mask: tuple[int, ...], shape: tuple[int, ...]) -> SampleAxis | None:
    """Return which axis a mask has coins for; the first one for a coin for all."""
    if len(mask) > len(shape):
        return None
    aligned = (1,) * (len(shape) - len(mask)) + mask
    axes = [axis for axis, size in enumerate(aligned) if size > 1] or [0]
    fits = len(axes) == 1 and aligned[axes[0]] in (1, shape[axes[0]])
    return SampleAxis(axes[0], shape[axes[0]]) if fits else None


def without_inputs(graph: Graph) -> frozenset[Node]:
    """Return the nodes that follow from no input: constants, random numbers, and scheduled rates.

    The handle of a rate is an input, but it only says where to read.
    """
    free: set[Node] = set()
    for node in graph.nodes:
        known = node.operation == "mapdrop.rate" or all(s in free for s in node.inputs)
        if node.target is not None and not node.region and known:
            free.add(node)
    return frozenset(free)


def _masks(graph: Graph) -> frozenset[Node]:
    """Return the arrays that follow from random numbers, and from no input."""
    found: set[Node] = set()
    for node in sorted(without_inputs(graph), key=lambda n: n.number):
        if node.operation in _RANDOM or any(source in found for source in node.inputs):
            found.add(node)
    return frozenset(node for node in found if node.is_array)


_RANDOM = {"rand", "bernoulli", "dropout", "uniform", "randint", "rand_like"}


def _share(mask: Node) -> float:
    """Return the expected share of samples that a mask keeps.

    It is read off the two forms in which drop path is written; of others it is estimated, from some
    masks that are drawn for that.
    """
    nodes, kept, total = ancestors(mask), 0, 0
    written = _written_share(nodes)
    if written is not None:
        return written
    draw = _evaluator(nodes)
    devices = sorted({n.value.device.index for n in nodes if n.is_array and n.value.is_cuda})
    with torch.random.fork_rng(devices), torch.no_grad():
        for generator in (
            torch.default_generator,
            *(torch.cuda.default_generators[device] for device in devices),
        ):
            generator.manual_seed(0)  # Not those of devices whose state is not kept.
        while total < _TRIALS:
            bits = draw() != 0
            kept, total = kept + int(bits.sum()), total + max(1, math.prod(mask.shape))
    return kept / total


def _written_share(nodes: tuple[Node, ...]) -> float | None:
    """Return p of empty.bernoulli(p), or of floor(p + rand), each over a number or not."""
    operations = {node.operation for node in nodes} - {"div"}
    drawing = {frozenset({"empty", "bernoulli"}): "bernoulli"}
    drawing |= {frozenset({"rand", "add", "floor"}): "add"}
    name = drawing.get(frozenset(operations))
    numbers = [
        argument
        for node in nodes
        if node.operation == name
        for argument in node.args
        if type(argument) in (int, float)
    ]
    return float(min(1, max(0, numbers[0]))) if len(numbers) == 1 else None


def _evaluator(nodes: tuple[Node, ...]) -> Callable[[], Tensor]:
    """Return what draws the last of some nodes, which follow from each other alone."""
    calls = [(node, caller(node)) for node in nodes]

    def draw() -> Tensor:
        values: dict[Node, Any] = {}
        for node, call in calls:
            values[node] = call(values)
        result: Tensor = values[nodes[-1]]
        return result

    return draw


def ancestors(*nodes: Node) -> tuple[Node, ...]:
    """Return some nodes and what they follow from, but for inputs, in order."""
    found = {node for node in nodes if node.target is not None}
    found |= {n for node in found for n in ancestors(*node.inputs)}
    return tuple(sorted(found, key=lambda n: n.number))
