"""Capture a model for batches of any size, by PyTorch's compiler and its guards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from mapdrop.backends.torch._internals import mark_dynamic, pytree
from mapdrop.torch.graph.build import build
from mapdrop.torch.graph.compiler import captures, compiler
from mapdrop.torch.graph.graph import Graph, GraphError
from mapdrop.torch.graph.guards import Guards
from mapdrop.torch.predict.activation import activate

_COPIES = 2  # Of the batch, when a model is captured: more than one row.
_CAPTURES = 16  # Graphs of a model, after which all are dropped.


@dataclass(frozen=True, eq=False)
class Arguments:
    """The arguments of a model.

    Attributes:
        leaves: the tensors and all else in them.
        structure: what they are leaves of.
        rows: the size of the batch: the first axis of the first tensor.
    """

    leaves: tuple[Any, ...]
    structure: Any
    rows: int

    @classmethod
    def of(cls, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
        """Return the arguments of a call."""
        leaves, structure = pytree.tree_flatten((args, kwargs))
        rows = [leaf.shape[0] for leaf in leaves if isinstance(leaf, Tensor) and leaf.dim()]
        if not rows or not rows[0]:
            raise ValueError("inputs have no tensor with a batch in its first axis, (b, ...)")
        return cls(tuple(leaves), structure, rows[0])

    def has_rows(self, leaf: Any) -> bool:
        """Return whether a leaf has the batch in its first axis."""
        return isinstance(leaf, Tensor) and leaf.dim() > 0 and leaf.shape[0] == self.rows

    @property
    def call(self) -> tuple[Any, Any]:
        """The positional and the keyword arguments."""
        args, kwargs = pytree.tree_unflatten(list(self.leaves), self.structure)
        return args, kwargs

    def row(self, number: int) -> Arguments:
        """Return the arguments for one row of the batch."""
        leaves = (
            leaf[number : number + 1] if self.has_rows(leaf) else leaf for leaf in self.leaves
        )
        return Arguments(tuple(leaves), self.structure, 1)

    def copied(self, copies: int) -> Arguments:
        """Return the arguments for several copies of the batch, one after the other."""
        leaves = (
            torch.cat([leaf] * copies) if self.has_rows(leaf) else leaf for leaf in self.leaves
        )
        return Arguments(tuple(leaves), self.structure, self.rows * copies)


class Capture:
    """One captured graph of a model, for batches of any size."""

    def __init__(self, module: fx.GraphModule) -> None:
        activate(module)
        self.module = module
        self.made: dict[Any, Any] = {}  # What a client makes of it.

    def graph(self, inputs: Sequence[Any]) -> Graph:
        """Return the graph for such inputs. Raises GraphError."""
        with torch.no_grad():
            return build(self.module, inputs)


@dataclass(frozen=True)
class _Place:
    is_input: bool
    number: int


@dataclass(frozen=True, eq=False)
class Call:
    """What a model does with some arguments.

    Attributes:
        capture: the captured model.
        arguments: of the model.
        given, copied: the inputs of the graph for other arguments: copies of these.
        structure: the model's result, with places in the place of tensors.
    """

    capture: Capture
    arguments: Arguments
    given: tuple[Any, ...]
    copied: Arguments
    structure: Any

    def result(self, outputs: Sequence[Any]) -> Any:
        """Return the model's result, given the outputs of the graph."""

        def value(place: _Place) -> Any:
            return (self.arguments.leaves if place.is_input else outputs)[place.number]

        return pytree.tree_map_only(_Place, value, self.structure)

    def inputs(self, arguments: Arguments) -> tuple[Any, ...]:
        """Return the inputs of the graph for other numbers of rows."""
        pairs = zip(self.copied.leaves, arguments.leaves, strict=True)
        places = {id(leaf): other for leaf, other in pairs if isinstance(leaf, Tensor)}
        sizes = {self.copied.rows: arguments.rows}
        return tuple(
            places.get(id(v), v) if isinstance(v, Tensor) else sizes.get(v, v) for v in self.given
        )


_CONSTANTS = (type(None), bool, int, float, complex, str)


def forward(model: nn.Module, output: Callable[[Any], Any] | None, args: Any, kwargs: Any) -> Any:
    """Return what is wanted of a model's result."""
    result = model(*args, **kwargs)
    return result if output is None else output(result)


class Captured:
    """A model as PyTorch's compiler captured it, and captures it anew whenever its guards fail."""

    def __init__(self) -> None:
        self._compiled: Callable[..., Any] | None = None
        self._guards = Guards(nn.Module())
        self._captures = 0
        self._called: list[tuple[Capture, tuple[Any, ...], tuple[Any, ...]]] = []

    def _backend(self, module: fx.GraphModule, example_inputs: list[Any]) -> Callable[..., Any]:
        self._captures += 1
        capture = Capture(module)
        (output,) = (node for node in module.graph.nodes if node.op == "output")

        def pretend(*inputs: Any) -> tuple[Any, ...]:
            made = tuple(torch.empty(0) if isinstance(v, fx.Node) else v for v in output.args[0])
            self._called.append((capture, inputs, made))
            return made

        return pretend

    def __call__(
        self, model: nn.Module, output: Callable[[Any], Any] | None, arguments: Arguments
    ) -> Call:
        """Return what a model would do with arguments. Raises GraphError."""
        if self._compiled is None or self._captures >= _CAPTURES or not self._guards.hold():
            options: dict[str, Any] = {"fullgraph": True, "dynamic": False}
            self._compiled = compiler(forward, backend=self._backend, **options)
            self._captures = 0
        copied, self._called = arguments.copied(_COPIES), []
        for leaf in copied.leaves:
            if copied.has_rows(leaf):
                mark_dynamic(leaf, 0)
        before = self._captures
        try:
            with captures(first=not before):
                result = self._compiled(model, output, *copied.call)
        except Exception as problem:  # The model's own code ran, and may raise anything.
            raise GraphError(str(problem)) from problem
        if self._captures > before:
            self._guards = Guards(model)
        if len(self._called) != 1:
            raise GraphError("it does nothing with tensors")
        ((capture, given, made),) = self._called
        self._called = []
        sources = {id(v): _Place(True, i) for i, v in enumerate(copied.leaves)}
        sources |= {id(v): _Place(False, i) for i, v in enumerate(made)}

        def placed(value: Any) -> Any:
            if isinstance(value, Tensor) and id(value) in sources:
                return sources[id(value)]
            if isinstance(value, _CONSTANTS):
                return value
            raise GraphError(f"it returns a {type(value).__name__}, which is no array of its own")

        return Call(capture, arguments, given, copied, pytree.tree_map(placed, result))
