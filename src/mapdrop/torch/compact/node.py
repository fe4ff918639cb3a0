"""A node of a captured graph, with what is known of it: shapes, its layer, how to call it."""

from __future__ import annotations

import copy
import operator
import re
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, fx, nn

Env = dict[Any, Any]
"""The values of a step: by node, or by whatever else a step of the schedule stores."""

_OUT_OF_PLACE = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
}


class NodeInfo:
    """One node. `node.meta["val"]` holds a fake tensor of its result (see `capture`)."""

    def __init__(self, node: fx.Node, owner: nn.Module) -> None:
        self.node, self.owner = node, owner
        self.module: Any = (
            owner.get_submodule(str(node.target)) if node.op == "call_module" else None
        )

    @property
    def name(self) -> str:
        """Return the layer's name in the model, or the node's, for messages."""
        if self.module is not None:
            return str(self.node.target)
        stack = list((self.node.meta.get("nn_module_stack") or {}).values())
        return str(stack[-1][0]).removeprefix("L['self'].") if stack else self.node.name

    def shape(self, node: fx.Node) -> tuple[int, ...]:
        """Return the shape of a node's result; () if that is no tensor."""
        value = node.meta.get("val")
        return tuple(value.shape) if isinstance(value, Tensor) else ()

    @cached_property
    def out_shape(self) -> tuple[int, ...]:
        """The shape of this node's result."""
        return self.shape(self.node)

    @cached_property
    def tensors(self) -> list[fx.Node]:
        """The inputs that are tensors."""
        return [n for n in self.node.all_input_nodes if isinstance(n.meta.get("val"), Tensor)]

    @cached_property
    def arrays(self) -> list[fx.Node]:
        """The inputs that may be arrays of maps, which the model's parameters are not."""
        return [n for n in self.tensors if n.op != "get_attr" or len(self.shape(n)) >= 3]

    @property
    def has_other_tensors(self) -> bool:
        """Return whether there are tensors among the inputs besides the arrays."""
        return len(self.tensors) > len(self.arrays)

    def same_maps(self, source: fx.Node) -> bool:
        """Return whether the result has one map for each map of the source."""
        return len(self.out_shape) >= 2 and self.shape(source)[:2] == self.out_shape[:2]

    def argument(self, name: str, position: int, default: Any) -> Any:
        """Return an argument of the call, by keyword or by position."""
        if name in self.node.kwargs:
            return self.node.kwargs[name]
        return self.node.args[position] if len(self.node.args) > position else default

    def layer_parameters(self, *names: str) -> Callable[[Env], list[Tensor | None]]:
        """Return a function that looks up the layer's parameters and buffers at each call."""
        return lambda env: [getattr(self.module, name, None) for name in names]

    def call_parameters(self, *names: str) -> Callable[[Env], list[Tensor | None]]:
        """Return a function that looks up the arguments after the first at each call."""
        nodes = [self.argument(name, 1 + i, None) for i, name in enumerate(names)]
        return lambda env: [env.get(n) if isinstance(n, fx.Node) else n for n in nodes]

    @cached_property
    def function(self) -> Callable[..., Any]:
        """What the node calls, in a version that does not overwrite its input."""
        if self.node.op == "call_module":
            if getattr(self.module, "inplace", False):
                return self._call_out_of_place
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

    def _call_out_of_place(self, *args: Any) -> Any:
        """Call the layer with its present settings, but without overwriting the input."""
        copied = copy.copy(self.module)
        copied.inplace = False
        return copied(*args)

    def call(self) -> Callable[[Sequence[Tensor], Env], Any]:
        """Return a function that calls the node with other values in place of its `arrays`."""
        positions = {node: i for i, node in enumerate(self.arrays)}
        function = self.function
        kwargs = {k: v for k, v in self.node.kwargs.items() if k != "inplace"}

        def call(values: Sequence[Tensor], env: Env) -> Any:
            def value(node: fx.Node) -> Any:
                return values[positions[node]] if node in positions else env[node]

            return function(
                *fx.node.map_arg(self.node.args, value), **fx.node.map_arg(kwargs, value)
            )

        return call

    def rank_fits(self, source: fx.Node) -> bool:
        """Return whether a 1d, 2d or 3d operation gets (samples, channels, *space) of that rank."""
        called: Any = self.node.target if self.module is None else type(self.module)
        found = re.search(r"([123])d$", str(getattr(called, "__name__", called)))
        return found is None or len(self.shape(source)) == int(found[1]) + 2

    def largest_at_zero(self, source: fx.Node) -> float | None:
        """Call the operation on a map of zeros and return the largest absolute value.

        None if the call fails or a value is not finite.
        """
        shape = self.shape(source)
        zeros = torch.zeros((1, 1, *shape[2:]))
        constants = {n: n.meta["val"] for n in self.node.all_input_nodes if n not in self.tensors}
        try:
            with torch.no_grad():
                result = self.call()([zeros], constants)
        except (RuntimeError, TypeError, ValueError, IndexError):
            return None
        if not isinstance(result, Tensor) or not result.isfinite().all():
            return None
        return float(result.abs().max()) if result.numel() else 0.0
