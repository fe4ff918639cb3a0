"""A node of a graph with what is known about it: shapes, its layer, how to call it."""

from __future__ import annotations

import copy
import operator
import re
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, fx, nn

from mapdrop.torch.compact.storage import Env

_OUT_OF_PLACE = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
}


class Site:
    """One node. `node.meta["val"]` has a fake tensor of its result (see `capture`)."""

    def __init__(self, node: fx.Node, owner: nn.Module) -> None:
        self.node, self.owner = node, owner
        self.module: Any = (
            owner.get_submodule(str(node.target)) if node.op == "call_module" else None
        )

    @property
    def name(self) -> str:
        """For people: the layer's name in the model, or the node's."""
        if self.module is not None:
            return str(self.node.target)
        stack = list((self.node.meta.get("nn_module_stack") or {}).values())
        return str(stack[-1][0]).removeprefix("L['self'].") if stack else self.node.name

    def shape(self, node: fx.Node) -> tuple[int, ...]:
        """Of a node's result; () where that is no tensor."""
        value = node.meta.get("val")
        return tuple(value.shape) if isinstance(value, Tensor) else ()

    @cached_property
    def out(self) -> tuple[int, ...]:
        """The result's shape."""
        return self.shape(self.node)

    @cached_property
    def tensors(self) -> list[fx.Node]:
        """The inputs that are tensors."""
        return [n for n in self.node.all_input_nodes if isinstance(n.meta.get("val"), Tensor)]

    @cached_property
    def arrays(self) -> list[fx.Node]:
        """The inputs that may be arrays of maps: not the model's parameters."""
        return [n for n in self.tensors if n.op != "get_attr" or len(self.shape(n)) >= 3]

    @property
    def other_tensors(self) -> bool:
        """Whether there are tensors among the inputs besides the arrays."""
        return len(self.tensors) > len(self.arrays)

    def same_maps(self, source: fx.Node) -> bool:
        """Whether the result has a map for each of the source's."""
        return len(self.out) >= 2 and self.shape(source)[:2] == self.out[:2]

    def get(self, name: str, position: int, default: Any) -> Any:
        """An argument that is no node."""
        if name in self.node.kwargs:
            return self.node.kwargs[name]
        return self.node.args[position] if len(self.node.args) > position else default

    def parameters(self, *names: str) -> Callable[[Env], list[Tensor | None]]:
        """The layer's parameters and buffers, looked up at each call."""
        return lambda env: [getattr(self.module, name, None) for name in names]

    def given(self, *names: str) -> Callable[[Env], list[Tensor | None]]:
        """Arguments after the first, at each call."""
        nodes = [self.get(name, 1 + i, None) for i, name in enumerate(names)]
        return lambda env: [env.get(n) if isinstance(n, fx.Node) else n for n in nodes]

    @cached_property
    def function(self) -> Callable[..., Any]:
        """What the node calls, in a form that does not overwrite its input."""
        if self.node.op == "call_module":
            if getattr(self.module, "inplace", False):
                return self._calm
            layer: Callable[..., Any] = self.module
            return layer
        if self.node.op == "call_method":
            name = str(self.node.target).rstrip("_")
            return lambda value, *args, **kwargs: getattr(value, name)(*args, **kwargs)
        target: Any = self.node.target
        if str(getattr(target, "__name__", "")).endswith("_"):
            target = getattr(torch, target.__name__.rstrip("_"), target)
        function: Callable[..., Any] = _OUT_OF_PLACE.get(target, target)
        return function

    def _calm(self, *args: Any) -> Any:
        """The layer as it is now, but that it leaves its input as it is."""
        copied = copy.copy(self.module)
        copied.inplace = False
        return copied(*args)

    def call(self) -> Callable[[Sequence[Tensor], Env], Any]:
        """Calls it with other arrays in place of `arrays`."""
        places = {node: i for i, node in enumerate(self.arrays)}
        function = self.function
        kwargs = {k: v for k, v in self.node.kwargs.items() if k != "inplace"}

        def call(values: Sequence[Tensor], env: Env) -> Any:
            def value(node: fx.Node) -> Any:
                return values[places[node]] if node in places else env[node]

            return function(
                *fx.node.map_arg(self.node.args, value), **fx.node.map_arg(kwargs, value)
            )

        return call

    def rank_fits(self, source: fx.Node) -> bool:
        """Whether an operation for maps of so many dimensions got (samples, channels, *map)."""
        called: Any = self.node.target if self.module is None else type(self.module)
        found = re.search(r"([123])d$", str(getattr(called, "__name__", called)))
        return found is None or len(self.shape(source)) == int(found[1]) + 2

    def of_zero(self, source: fx.Node) -> float | None:
        """The largest value that it makes of a map of zeros, tried out; None where not finite."""
        shape = self.shape(source)
        zeros = torch.zeros((1, 1, *shape[2:]))
        constants = {n: n.meta["val"] for n in self.node.all_input_nodes if n not in self.tensors}
        try:
            with torch.no_grad():
                found = self.call()([zeros], constants)
        except (RuntimeError, TypeError, ValueError, IndexError):
            return None
        if not isinstance(found, Tensor) or not found.isfinite().all():
            return None
        return float(found.abs().max()) if found.numel() else 0.0
