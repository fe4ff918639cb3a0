"""The graph of a captured model: its operations in order, for inputs of certain shapes."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from mapdrop.backends.torch._internals import OPERATORS


class GraphError(Exception):
    """A graph cannot be made; the text says why."""


@dataclass(frozen=True, eq=False)
class Node:
    """An input of a graph (`target` is None), or a call of an operation.

    Attributes:
        number: its place in the graph.
        target: what is called.
        args, kwargs: of the call, with nodes in the place of arrays.
        value: the result: a fake tensor, several in a tuple, or None.
        name, layer: the name and the class of the layer that calls it, for messages; where the
            model itself does, its own name and "".
        where: the line of the model's code, "file.py:12"; "" if that is unknown.
        is_parameter: whether it is an input that belongs to a layer: a parameter or a buffer.
        region: which stretch of the graph it belongs to; in every stretch but number 0 gradients
            or autocast are switched.
    """

    number: int
    target: Callable[..., Any] | None = None
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] | None = None
    value: Any = None
    name: str = ""
    layer: str = ""
    where: str = ""
    is_parameter: bool = False
    region: int = 0

    def __repr__(self) -> str:
        return f"{self.operation or 'input'} {self.name!r}"

    @property
    def operation(self) -> str:
        """The name of the operation, the same for a function, a method and an operator."""
        return operation_name(self.target)

    @cached_property
    def inputs(self) -> tuple[Node, ...]:
        """The nodes that it reads, each once, in the order of the call."""
        found: dict[Node, None] = {}
        substituted((self.args, self.kwargs or {}), lambda node: found.setdefault(node))
        return tuple(found)

    @property
    def is_array(self) -> bool:
        """Whether the result is one tensor."""
        return isinstance(self.value, Tensor)

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """The shape of the result; () if that is not one tensor."""
        return tuple(self.value.shape) if self.is_array else ()

    @cached_property
    def tensors(self) -> tuple[Node, ...]:
        """The inputs that are one tensor."""
        return tuple(node for node in self.inputs if node.is_array)

    @cached_property
    def arrays(self) -> tuple[Node, ...]:
        """The inputs that may be arrays of maps, which a layer's parameters are not."""
        return tuple(n for n in self.tensors if not n.is_parameter or len(n.shape) >= 3)

    def numbered(self, number: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Node:
        """Return the same node at another place, with other arguments."""
        return replace(self, number=number, args=args, kwargs=kwargs)

    def argument(self, name: str, position: int, default: Any = None) -> Any:
        """Return an argument of the call, by keyword or by position."""
        if name in (self.kwargs or {}):
            return (self.kwargs or {})[name]
        return self.args[position] if len(self.args) > position else default


@dataclass(frozen=True, eq=False)
class Graph:
    """The nodes in order, the outputs, and who reads what.

    `outputs` has nodes, and constants as they are; `overwritten` the arrays that others write into
    under another name, so that their values change after they were made.
    """

    nodes: tuple[Node, ...]
    outputs: tuple[Any, ...]
    overwritten: frozenset[Node] = frozenset()

    @cached_property
    def inputs(self) -> tuple[Node, ...]:
        """The nodes that are inputs, in the order of the arguments."""
        return tuple(node for node in self.nodes if node.target is None)

    @cached_property
    def users(self) -> dict[Node, tuple[Node, ...]]:
        """The nodes that read each node, in order."""
        found: dict[Node, list[Node]] = {node: [] for node in self.nodes}
        for node in self.nodes:
            for source in node.inputs:
                found[source].append(node)
        return {node: tuple(users) for node, users in found.items()}

    @cached_property
    def returned(self) -> frozenset[Node]:
        """The nodes that are outputs."""
        return frozenset(value for value in self.outputs if isinstance(value, Node))


def call_by_numbers(node: Node) -> Any:
    """Return the arguments of a call, with the numbers of nodes in their place."""
    return substituted((node.args, node.kwargs or {}), lambda source: source.number)


_ALIASES = {
    "_threshold": "threshold",
    "clip": "clamp",
    "concat": "cat",
    "divide": "div",
    "log_sigmoid": "logsigmoid",
    "multiply": "mul",
    "subtract": "sub",
    "true_divide": "div",
    "truediv": "div",
}


def operation_name(target: Any) -> str:
    """Return what is called, by the name that its function, method and operator share."""
    if isinstance(target, OPERATORS):
        return ".".join(str(target).split(".")[:2])
    plain = without_writing(target)
    name = str(getattr(plain, "__name__", "")).rstrip("_")
    return _ALIASES.get(name, name)


def without_writing(target: Any) -> Any:
    """Return the function that returns what another writes into its input; others as they are."""
    name = str(getattr(target, "__name__", ""))
    if getattr(target, "__module__", "") == "_operator" and hasattr(operator, f"__{name}__"):
        return getattr(operator, name[1:], target) if name.startswith("i") else target
    if not name.endswith("_") or name.endswith("__"):
        return target
    is_method = "Tensor" in getattr(target, "__qualname__", "")
    homes = (Tensor,) if is_method else (torch, torch.nn.functional)
    return next((f for home in homes if (f := getattr(home, name.rstrip("_"), None))), target)


def out_of_place(node: Node) -> Node:
    """Return the same call in a version that does not overwrite its input."""
    args, kwargs = list(node.args), dict(node.kwargs or {})
    if kwargs.pop("inplace", False):
        kwargs["inplace"] = False
    names = list(_parameters(node.target))
    if "inplace" in names[: len(args)]:
        args[names.index("inplace")] = False
    target = without_writing(node.target)
    return replace(node, target=target, args=tuple(args), kwargs=kwargs)


def caller(node: Node) -> Callable[[Mapping[Node, Any]], Any]:
    """Return a function that calls a node's operation with other values, which it leaves alone."""
    call = out_of_place(node)
    target, kwargs = call.target, call.kwargs or {}
    assert target is not None

    def run(values: Mapping[Node, Any]) -> Any:
        replaced = substituted((call.args, kwargs), values.__getitem__)
        return target(*replaced[0], **replaced[1])

    return run


def _parameters(target: Any) -> Iterable[str]:
    try:
        return inspect.signature(target).parameters
    except (TypeError, ValueError):  # Of many functions written in C.
        return ()


def substituted(value: Any, replace: Callable[[Node], Any]) -> Any:
    """Return arguments with something else in the place of each node."""
    if isinstance(value, Node):
        return replace(value)
    if isinstance(value, (tuple, list)):
        parts = [substituted(part, replace) for part in value]
        return parts if isinstance(value, list) else tuple(parts)
    if isinstance(value, dict):
        return {key: substituted(part, replace) for key, part in value.items()}
    if isinstance(value, slice):
        ends = (value.start, value.stop, value.step)
        return slice(*(substituted(end, replace) for end in ends))
    return value
