"""Record the functions that are called with fake tensors, as nodes of a graph."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any
from weakref import ref

import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode

from mapdrop.backends.torch._internals import (
    DisableTorchFunction,
    FakeTensorMode,
    pytree,
    saved_tensor_hooks,
    storage_of,
    version_of,
)
from mapdrop.torch.compact.capture.guards import is_value
from mapdrop.torch.layers import Drop


class CaptureError(Exception):
    """A model cannot be captured; the text says why."""


_IN_PLACE = {
    "add_": operator.iadd,
    "sub_": operator.isub,
    "mul_": operator.imul,
    "div_": operator.itruediv,
}
_SWAPPED = {
    "__rsub__": operator.sub,
    "__rdiv__": operator.truediv,
    "__rtruediv__": operator.truediv,
    "__rpow__": operator.pow,
    "__rfloordiv__": operator.floordiv,
    "__rmatmul__": operator.matmul,
}
_OPERATORS = {
    "neg": operator.neg,
    "matmul": operator.matmul,
    "__getitem__": operator.getitem,
    "__setitem__": operator.setitem,
}


class Recorder(TorchFunctionMode):
    """Records what is called, once.

    Attributes:
        paused: a context in which the watching of the model's code pauses.
        paths: where each fake parameter and buffer is found in the model, by `id`.
        layers: the layers that what is recorded next comes from.
    """

    def __init__(self) -> None:
        super().__init__()
        self.paused: Callable[[], AbstractContextManager[None]] = nullcontext
        self.graph = fx.Graph()
        self.paths: dict[int, str] = {}
        self.layers: Any = None
        self.mode = FakeTensorMode(allow_non_fake_inputs=True)
        self._nodes: dict[int, tuple[ref[Tensor], fx.Node]] = {}
        self._inside = False
        self._modes: Any = None

    def fake(self, tensor: Tensor) -> Tensor:
        """Return a fake tensor of the same kind."""
        made = self.mode.from_tensor(tensor, static_shapes=True)
        assert isinstance(made, Tensor)
        return made

    def record(
        self, forward: Callable[..., Any], args: Any, kwargs: Any
    ) -> tuple[fx.Graph, pytree.TreeSpec]:
        """Run a forward. Return the graph and the structure of the output."""
        leaves, spec = pytree.tree_flatten((args, kwargs))
        inputs = [self._input(i, v) if isinstance(v, Tensor) else v for i, v in enumerate(leaves)]
        fakes, named = pytree.tree_unflatten(inputs, spec)
        gradients = torch.set_grad_enabled(torch.is_grad_enabled())  # Restores what the model sets.
        # Checkpointing around the model would count what is saved here.
        saved = torch.autograd.graph.saved_tensors_hooks(_identity, _identity)
        with gradients, saved, self.mode, _without_autocast_cache(), self:
            self._modes = _modes()
            result = forward(*fakes, **named)
        outputs, output = pytree.tree_flatten(result)
        for value in outputs:
            if not isinstance(value, Tensor) and not is_value(value):
                raise CaptureError(f"its forward returns a {type(value).__name__}")
        self.graph.output([self._argument(v) for v in outputs])
        for node in reversed(self.graph.nodes):
            if node.target is operator.getitem and node.meta.get("part") and not node.users:
                self.graph.erase_node(node)
        return self.graph, output

    def leaf(self, path: str, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """Call the copy of a layer as one node. What it calls is not recorded."""
        if self._inside:
            return _call(module, args, kwargs)
        self._inside = True
        try:
            with self.paused():
                return self._layer(path, module, args, kwargs)
        finally:
            self._inside = False

    def _layer(self, path: str, module: nn.Module, args: Any, kwargs: Any) -> Any:
        self._check_modes()
        inputs = self._tensors((args, kwargs))
        versions = [version_of(t) for t in inputs]
        result = _call(module, args, kwargs)
        weight = getattr(module, "weight", None)
        node = self._node("call_module", path, args, kwargs)
        node.meta["weight"] = weight
        return self._record_result(node, result, inputs, versions)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self._inside:
            return func(*args, **(kwargs or {}))
        with self.paused():
            return self._function(func, args, kwargs or {})

    def _function(self, func: Any, args: Any, kwargs: Any) -> Any:
        self._check_modes()
        inputs = self._tensors((args, kwargs))
        versions = [version_of(t) for t in inputs]
        result = func(*args, **kwargs)
        if is_value(result) and not (result is None and getattr(func, "__name__", "") != "__get__"):
            return result
        return self._record_result(self._call_node(func, args, kwargs), result, inputs, versions)

    def _call_node(self, func: Any, args: Any, kwargs: Any) -> fx.Node:
        name = getattr(func, "__name__", "")
        if name == "__get__":
            return self._node("call_function", getattr, (args[0], func.__self__.__name__), {})
        if name == "__set__":
            raise CaptureError("it sets an attribute of an array")
        if not _is_method(func):
            return self._node("call_function", func, args, kwargs)
        if name in _SWAPPED:
            return self._node("call_function", _SWAPPED[name], (args[1], args[0]), kwargs)
        target = _OPERATORS.get(name) or (None if kwargs else _IN_PLACE.get(name))
        if target is not None:
            return self._node("call_function", target, args, kwargs)
        return self._node("call_method", name, args, kwargs)

    def _node(self, op: str, target: Any, args: Any, kwargs: Any) -> fx.Node:
        given = pytree.tree_map(self._argument, (tuple(args), dict(kwargs)))
        node = self.graph.create_node(op, target, *given)
        node.meta["nn_module_stack"] = self.layers
        return node

    def _input(self, number: int, tensor: Tensor) -> Tensor:
        fake = self.fake(tensor)
        if id(fake) in self._nodes:  # The same tensor twice is two inputs of the graph.
            fake = fake.detach().requires_grad_(fake.requires_grad)
        return self._register(fake, self.graph.placeholder(f"input_{number}"))

    def _argument(self, value: Any) -> Any:
        if isinstance(value, slice):
            return slice(*map(self._argument, (value.start, value.stop, value.step)))
        return self._node_of(value) if isinstance(value, Tensor) else value

    def _node_of(self, tensor: Tensor) -> fx.Node:
        known = self._nodes.get(id(tensor))
        if known is not None and known[0]() is tensor:
            return known[1]
        if id(tensor) not in self.paths:
            raise CaptureError(
                "it reads a tensor that is neither a parameter nor a buffer of the model"
            )
        self._register(tensor, self.graph.create_node("get_attr", self.paths[id(tensor)]))
        return self._nodes[id(tensor)][1]

    def _tensors(self, values: Any) -> list[Tensor]:
        found = [v for v in pytree.tree_leaves(values) if isinstance(v, Tensor)]
        for tensor in found:
            self._node_of(tensor)
        return found

    def _register(self, tensor: Tensor, node: fx.Node) -> Tensor:
        with DisableTorchFunction():
            node.meta["val"] = tensor.detach()  # Its present shape.
        self._nodes[id(tensor)] = ref(tensor), node
        return tensor

    def _record_result(
        self, node: fx.Node, result: Any, inputs: list[Tensor], versions: list[int]
    ) -> Any:
        """Register a node's result, and check what the call overwrote."""
        for tensor, version in zip(inputs, versions, strict=True):
            if version_of(tensor) != version:
                self._check_overwrite(node, tensor, result)
        if isinstance(result, Tensor):
            return self._register(result, node)
        if not isinstance(result, (tuple, list)) or not all(
            isinstance(part, Tensor) or is_value(part) for part in result
        ):
            raise CaptureError(f"{node} makes a {type(result).__name__}")
        node.meta["val"] = tuple(result)
        for i, part in enumerate(result):
            if isinstance(part, Tensor):
                found = self.graph.call_function(operator.getitem, (node, i))
                found.meta["part"] = True
                self._register(part, found)
        return result

    def _check_overwrite(self, node: fx.Node, tensor: Tensor, result: Any) -> None:
        before, storage = self._node_of(tensor), storage_of(tensor)
        others = [t for known, _ in self._nodes.values() if (t := known()) is not None]
        if any(t is not tensor and storage_of(t) == storage for t in others):
            raise CaptureError(f"{node} overwrites an array that may have a second name")
        state = (
            id(tensor) in self.paths or tensor.dim() < 2
        )  # A layer's, which is read when it is used.
        if result is not tensor and not state:
            raise CaptureError(f"{node} overwrites a part of an array")
        if before.op == "placeholder" and not state:
            raise CaptureError(f"{node} overwrites an input")

    def _check_modes(self) -> None:
        if _modes() != self._modes:
            raise CaptureError(
                "a part of it runs without gradients, in another type or checkpointed"
            )


def _is_method(func: Any) -> bool:
    """Return whether a function is a method of tensors, written in C or in Python."""
    owner = getattr(func, "__qualname__", "").rpartition(".")[0]
    return owner in ("Tensor", "TensorBase")


def _identity(tensor: Tensor) -> Tensor:
    return tensor


def _call(module: nn.Module, args: Any, kwargs: Any) -> Any:
    if isinstance(module, Drop):  # Its forward would count as a call of a seeded layer.
        return torch.empty_like(args[0])
    return type(module).forward(module, *args, **kwargs)


def _modes() -> Any:
    """Return the modes that change what operations do without being arguments of them."""
    cast = [(torch.is_autocast_enabled(d), torch.get_autocast_dtype(d)) for d in ("cpu", "cuda")]
    modes = torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_default_dtype()
    return modes, cast, saved_tensor_hooks()


@contextmanager
def _without_autocast_cache() -> Iterator[None]:
    """Keep autocast from caching fake weights, which it would pass to real operations later."""
    enabled = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(enabled)
