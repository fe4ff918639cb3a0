"""Read what a function would do with a model, without doing it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from mapdrop.backends.torch._internals import pytree
from mapdrop.torch.graph.build import build
from mapdrop.torch.graph.compiler import captures, compiler
from mapdrop.torch.graph.graph import Graph, GraphError, Node


@dataclass(frozen=True, eq=False)
class Reading:
    """What a function does with certain arguments, found without doing it.

    Attributes:
        graph: its graph.
        inputs: the tensors that are the graph's inputs.
        result: returns the function's result, given the outputs of the graph.
        guards: what PyTorch's compiler would guard (see `torch.compile`'s `guard_filter_fn`).
    """

    graph: Graph
    inputs: tuple[Tensor, ...]
    guards: tuple[Any, ...]
    result: Callable[[Sequence[Any]], Any]


@dataclass(frozen=True)
class _Place:
    number: int


def read(function: Callable[..., Any], args: Any, kwargs: Any) -> Reading:
    """Return what a function would do. Raises GraphError."""
    found: list[tuple[Graph, tuple[Any, ...], tuple[Any, ...]]] = []
    guards: list[Any] = []

    def backend(module: fx.GraphModule, example_inputs: list[Any]) -> Callable[..., Any]:
        def pretend(*inputs: Any) -> tuple[Any, ...]:
            graph = build(module, inputs)
            found.append((graph, inputs, tuple(map(_empty, graph.outputs))))
            return found[0][2]

        return pretend

    def note(entries: Sequence[Any]) -> list[bool]:
        guards.extend(entries)
        return [True] * len(entries)

    def called(model: nn.Module, args: Any, kwargs: Any) -> Any:
        return function(model, *args, **kwargs)

    options = {"guard_filter_fn": note}
    compiled = compiler(called, backend=backend, fullgraph=True, dynamic=False, options=options)
    model, *rest = args
    try:
        with captures(first=True):
            result = compiled(model, tuple(rest), kwargs)
    except GraphError:
        raise
    except Exception as problem:  # The model's own code ran, and may raise anything.
        raise GraphError(str(problem)) from problem
    if len(found) != 1:
        raise GraphError("it does nothing with tensors")
    graph, inputs, outputs = found[0]
    numbers = {id(value): number for number, value in enumerate(outputs)}

    def placed(value: Tensor) -> _Place:
        if id(value) not in numbers:
            raise GraphError("it returns a tensor that no operation made")
        return _Place(numbers[id(value)])

    structure = pytree.tree_map_only(Tensor, placed, result)

    def of(outputs: Sequence[Any]) -> Any:
        return pytree.tree_map_only(_Place, lambda place: outputs[place.number], structure)

    return Reading(graph, inputs, tuple(guards), of)


def _empty(output: Any) -> Any:
    """Return a tensor without values in the place of a node."""
    if not isinstance(output, Node):
        return output
    return torch.empty(output.shape, dtype=output.value.dtype, device=output.value.device)
