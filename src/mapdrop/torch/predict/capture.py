"""Capture a model for batches of any size, by PyTorch's compiler and its guards."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from mapdrop.backends.torch._internals import compiler_silent, mark_dynamic, pytree
from mapdrop.backends.torch.rows import empty_rows
from mapdrop.torch.graph.build import build
from mapdrop.torch.graph.compiler import captures, compiler
from mapdrop.torch.graph.graph import Graph, GraphError
from mapdrop.torch.graph.guards import Guards
from mapdrop.torch.predict.activation import activate

_CAPTURES = 16  # Graphs of a model, after which all are dropped.
_KINDS = 64  # Of calls, of which what was made is kept.
CONSTANTS = (type(None), bool, int, float, complex, str)
"""What a model may return besides tensors."""


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
        # What was made in inference mode has no version, by which writes are seen.
        leaves = [v.clone() if isinstance(v, Tensor) and v.is_inference() else v for v in leaves]
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

    def cloned(self) -> Arguments:
        """Return the arguments with tensors of their own, which the model may overwrite."""
        leaves = (leaf.clone() if isinstance(leaf, Tensor) else leaf for leaf in self.leaves)
        return Arguments(tuple(leaves), self.structure, self.rows)

    def row(self, number: int) -> Arguments:
        """Return the arguments for one row of the batch."""
        leaves = (
            leaf[number : number + 1] if self.has_rows(leaf) else leaf for leaf in self.leaves
        )
        return Arguments(tuple(leaves), self.structure, 1)

    def of_size(self, rows: int) -> Arguments:
        """Return the arguments for a batch of another size, without values."""
        leaves = (
            empty_rows(leaf, 0, rows) if self.has_rows(leaf) else leaf for leaf in self.leaves
        )
        return Arguments(tuple(leaves), self.structure, rows)


class Capture:
    """One captured graph of a model.

    Attributes:
        made: what a client makes of it, by kinds of calls: the most recent ones.
    """

    def __init__(self, module: fx.GraphModule) -> None:
        activate(module)
        self.module = module
        self.made: OrderedDict[Any, Any] = OrderedDict()

    def graph(self, inputs: Sequence[Any]) -> Graph:
        """Return the graph for such inputs. Raises GraphError."""
        with torch.no_grad():
            return build(self.module, inputs)

    def kept(self, key: Any, make: Callable[[], Any]) -> Any:
        """Return what was made for a key; make it if it is not there."""
        if key not in self.made:
            self.made[key] = make()
            if len(self.made) > _KINDS:
                self.made.popitem(last=False)
        return self.made[key]


@dataclass(frozen=True)
class _Place:
    is_input: bool
    number: int


@dataclass(frozen=True, eq=False)
class Call:
    """What a model does with some arguments.

    Attributes:
        capture: the captured model.
        given: the inputs of the graph.
        arguments: those of the call.
        structure: the model's result, with places in the place of tensors.
    """

    capture: Capture
    given: tuple[Any, ...]
    arguments: Arguments
    structure: Any

    def result(self, outputs: Sequence[Any], arguments: Arguments) -> Any:
        """Return the model's result, given the outputs of the graph."""

        def value(place: _Place) -> Any:
            return (arguments.leaves if place.is_input else outputs)[place.number]

        return pytree.tree_map_only(_Place, value, self.structure)

    def tensors(self, arguments: Arguments) -> list[Tensor]:
        """Return the tensors among the graph's inputs, for other arguments."""
        pairs = zip(self.arguments.leaves, arguments.leaves, strict=True)
        places = {id(leaf): other for leaf, other in pairs if isinstance(leaf, Tensor)}
        return [places.get(id(v), v) for v in self.given if isinstance(v, Tensor)]


Output = Callable[[Any], Any]
Compute = Callable[[Capture, tuple[Any, ...]], Sequence[Any]]
"""Returns the outputs of a graph for its inputs. What a model stores of them, users may read."""


def forward(model: nn.Module, output: Output | None, args: Any, kwargs: Any) -> Any:
    """Return what is wanted of a model's result."""
    result = model(*args, **kwargs)
    return result if output is None else output(result)


class Reader:
    """Reads a model by PyTorch's compiler, and anew whenever its guards fail.

    Args:
        any_batch: whether a graph is for batches of any size, whatever the model does with small
            ones. It is checked against the graph of the batch itself.
    """

    def __init__(self, any_batch: bool) -> None:
        self._any_batch = any_batch
        self._compiled: Callable[..., Any] | None = None
        self._guards = Guards(nn.Module())
        self._captures = 0
        self._called: list[tuple[Capture, tuple[Any, ...], tuple[Any, ...]]] = []
        self._compute: Compute = _nothing

    def _backend(self, module: fx.GraphModule, example_inputs: list[Any]) -> Callable[..., Any]:
        self._captures += 1
        capture = Capture(module)
        (output,) = (node for node in module.graph.nodes if node.op == "output")

        def call(*inputs: Any) -> tuple[Any, ...]:
            made = tuple(self._compute(capture, inputs))
            if len(made) != len(output.args[0]):
                raise GraphError("it returns more for some sizes of the batch")
            self._called.append((capture, inputs, made))
            return made

        return call

    def __call__(
        self,
        model: nn.Module,
        output: Output | None,
        arguments: Arguments,
        compute: Compute,
    ) -> Call:
        """Return what a model does with arguments. Raises GraphError."""
        if self._compiled is None or self._captures >= _CAPTURES or not self._guards.hold():
            self._compiled = compiler(forward, backend=self._backend, fullgraph=True)
            self._captures = 0
        self._compute, self._called = compute, []
        if self._any_batch:
            for leaf in arguments.leaves:
                if arguments.has_rows(leaf):
                    mark_dynamic(leaf, 0)
        before = self._captures
        try:
            with captures(first=not before), compiler_silent():
                result = self._compiled(model, output, *arguments.call)
        except Exception as problem:  # The model's own code ran, and may raise anything.
            raise GraphError(_sentence(problem)) from problem
        finally:
            self._compute, called = _nothing, self._called
            self._called = []
        if self._captures > before:
            self._guards = Guards(model)
        if len(called) != 1:
            raise GraphError("it does nothing with tensors")
        return _call(result, arguments, *called[0])


def _nothing(capture: Capture, inputs: tuple[Any, ...]) -> Sequence[Any]:
    raise GraphError("it is called again after it was read")


def _sentence(problem: Exception) -> str:
    """Return the first line of what went wrong."""
    return str(problem.__cause__ or problem).strip().partition("\n")[0] or repr(problem)


def _call(
    result: Any,
    arguments: Arguments,
    capture: Capture,
    given: tuple[Any, ...],
    made: tuple[Any, ...],
) -> Call:
    sources = {id(v): _Place(True, i) for i, v in enumerate(arguments.leaves)}
    outputs = {id(v): _Place(False, i) for i, v in enumerate(made) if isinstance(v, Tensor)}
    sources |= outputs

    def placed(value: Any) -> Any:
        if isinstance(value, Tensor) and id(value) in sources:
            return sources[id(value)]
        if isinstance(value, CONSTANTS):
            return value
        raise GraphError(f"it returns a {type(value).__name__}, which is no array of its own")

    return Call(capture, given, arguments, pytree.tree_map(placed, result))
