"""Several passes of a captured model at a time, by a graph for batches of any size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from mapdrop.backends.torch.rows import cat_rows
from mapdrop.torch.compact.cost_model import Costs
from mapdrop.torch.compact.schedule import Schedule
from mapdrop.torch.graph.graph import Graph, GraphError, Node, call_by_numbers, substituted
from mapdrop.torch.graph.replicas import RandomStates
from mapdrop.torch.predict.capture import Arguments, Call, Capture
from mapdrop.torch.predict.passes import PassByPass, kind
from mapdrop.torch.predict.replicate import Suffix, replicated
from mapdrop.torch.predict.rows_alone import check_places, rows_alone
from mapdrop.torch.predict.skipping import scheduled
from mapdrop.torch.predict.split import Split

Read = Callable[[Arguments], Call]
"""Reads the model for other arguments."""


@dataclass(frozen=True, eq=False)
class _Sized:
    """A graph for batches of any size.

    Attributes:
        sizes: for each input None, if it is a tensor; else the size, as it is for `rows` rows.
    """

    capture: Capture
    sizes: tuple[int | None, ...]
    rows: int

    @classmethod
    def of(cls, call: Call) -> _Sized:
        sizes = tuple(None if isinstance(v, Tensor) else v for v in call.given)
        return cls(call.capture, sizes, call.arguments.rows)

    def graph(self, call: Call, rows: int) -> Graph:
        """Return the graph for so many rows; `call` is one of the same model."""
        tensors = iter(call.tensors(call.arguments.of_size(rows)))
        inputs = [
            next(tensors) if size is None else rows if size == self.rows else size
            for size in self.sizes
        ]
        return without_sizes(self.capture.graph(inputs))


class SideBySide:
    """Passes of a model, several at a time.

    Args:
        alone: passes one by one, with the values that are the same in all.
        call: what the model does with the batch.
        read: reads the model by a graph for batches of any size.
        read_row: reads it for one row of the batch, if that sees masks of its own; else None.
        costs: the constants by which it is chosen what to skip.
    """

    alone: PassByPass
    call: Call
    costs: Costs | None

    def __init__(
        self,
        alone: PassByPass,
        call: Call,
        read: Read,
        read_row: Read | None,
        costs: Costs | None,
    ) -> None:
        self.alone, self.call, self.costs = alone, call, costs
        self._key = ("together", read_row is not None, costs, kind(call.given))
        self._shared = read_row is not None
        self._fixed: list[Any] | None = None
        check = partial(self._checked, read, read_row)
        found = call.capture.kept(self._key, check)
        if isinstance(found, GraphError):
            raise found
        self._sized, self._base, self._one = found

    def _checked(self, read: Read, read_row: Read | None) -> Any:
        """Return the graph for any size, for the batch and for a replica; or why there is none."""
        rows = self.call.arguments.rows
        try:
            sized = _Sized.of(read(self.call.arguments.of_size(2 * rows)))
            base = sized.graph(self.call, rows)
            _check_alike(base, without_sizes(self.alone.plan.split.graph))
            if read_row is None:
                return sized, base, base
            one = sized.graph(self.call, 1)
            row = read_row(self.call.arguments.row(0))
            _check_alike(one, without_sizes(row.capture.graph(row.given)))
            return sized, base, one
        except GraphError as problem:
            return problem

    def _split(self, graph: Graph) -> Split:
        """Return the split of a graph like that of the batch."""
        found = self.alone.plan.split
        nodes = [node for node in found.graph.nodes if node.target or node.is_array]
        number = {node: i for i, node in enumerate(nodes)}
        drawing, varying = (
            frozenset(graph.nodes[number[node]] for node in nodes)
            for nodes in (found.drawing, found.varying)
        )
        return Split(graph, drawing, varying)

    def prepare(self, passes: int) -> None:
        """Make what runs so many passes at a time. Raises GraphError if they can only run alone."""
        if passes > 1 or self._shared:
            self._of(passes)

    def each(self, seeds: Sequence[int], chunk: int) -> Iterator[list[Any]]:
        """Yield the outputs of passes, so many at a time."""
        for first in range(0, len(seeds), chunk):
            yield from self._several(seeds[first : first + chunk])

    def _several(self, seeds: Sequence[int]) -> Iterator[list[Any]]:
        passes, rows = len(seeds), self.call.arguments.rows
        if passes == 1 and not self._shared:
            yield self.alone.outputs(seeds[0])
            return
        suffix, schedule, states, alone = self._of(passes)
        states.seed([seed for seed in seeds for _ in range(rows if self._shared else 1)])
        fixed = self.alone.fixed if alone else self._fixed_by_row(suffix)
        outputs = schedule.run(suffix.inputs(fixed, passes))
        parts = [output.chunk(passes) for output in outputs]
        for part in zip(*parts, strict=True):
            yield self.alone.completed(part)

    def _fixed_by_row(self, suffix: Suffix) -> list[Any]:
        """Return the values of the fixed nodes, computed for each row of the batch by itself."""
        if self._fixed is None:
            prefix, arguments = self._split(self._one).prefix, self.call.arguments
            rows = [
                prefix.run(self.call.tensors(arguments.row(i)), None) for i in range(arguments.rows)
            ]
            self._fixed = [
                values[0] if place is None else cat_rows(values, place.axis)
                for place, *values in zip(suffix.places, *rows, strict=True)
            ]
        return self._fixed

    def _of(self, passes: int) -> tuple[Suffix, Schedule, RandomStates, bool]:
        make = partial(self._made, passes)
        made: Any = self.call.capture.kept((*self._key, passes), make)
        if isinstance(made, GraphError):
            raise made
        suffix, schedule, states, alone = made
        return suffix, schedule, states, alone

    def _made(self, passes: int) -> tuple[Suffix, Schedule, RandomStates, bool] | GraphError:
        """Return what runs some passes, and whether fixed values are those of each row alone."""
        rows = passes * self.call.arguments.rows
        states = RandomStates.like(self.alone.plan.states)
        try:
            many = self._sized.graph(self.call, rows)
            found = self._split(self._base)
            suffix = replicated(found, self._one, many, rows, passes, states)
            if self._shared:
                check_places(found, self._one, suffix.places)
        except GraphError as problem:
            return problem
        alone = not self._shared or rows_alone(
            found, self._one, suffix.places, self.call.arguments.rows
        )
        return suffix, scheduled(suffix, self.costs), states, alone


def without_sizes(graph: Graph) -> Graph:
    """Return a graph without the inputs that are sizes, which its calls have as constants."""
    made: dict[Node, Node] = {}
    for node in graph.nodes:
        if node.target is not None or node.is_array:
            args, kwargs = substituted((node.args, node.kwargs or {}), made.__getitem__)
            made[node] = node.numbered(len(made), args, kwargs)
    outputs = tuple(made[v] if isinstance(v, Node) else v for v in graph.outputs)
    overwritten = frozenset(made[node] for node in graph.overwritten)
    return Graph(tuple(made.values()), outputs, overwritten)


def _check_alike(one: Graph, other: Graph) -> None:
    """Raise GraphError unless two graphs do the same."""
    alike = len(one.nodes) == len(other.nodes) and all(map(_alike, one.nodes, other.nodes))
    if not alike:
        raise GraphError("what it does depends on the size of the batch")


def _alike(one: Node, other: Node) -> bool:
    same = one.operation == other.operation and one.shape == other.shape
    return bool(same and call_by_numbers(one) == call_by_numbers(other))
