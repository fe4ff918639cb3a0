"""A model as a graph: its forward is run once on fake tensors, and each operation is written down.

PyTorch's own layers stay whole; what is between them is recorded by the functions that are called.
Everything that makes this a record is one thread's, and the model is a copy that shares nothing
with the real one, so that nobody can see a capture but by its time.
"""

from __future__ import annotations

import operator
import pickle
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any
from weakref import ref

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from mapdrop.torch.compact.capture.guards import Guards, is_value
from mapdrop.torch.compact.capture.reads import Reads, UnreadableError
from mapdrop.torch.compact.capture.snapshot import Snapshot
from mapdrop.torch.layers import Drop


class CaptureError(Exception):
    """A model that cannot be captured; the text says why."""


@dataclass(frozen=True)
class Captured:
    """The nodes in order, the module that their targets are found in, and what they rely on.

    `node.meta["val"]` has a fake tensor of each result, `node.meta["weight"]` of a layer's weight.
    """

    graph: fx.Graph
    owner: nn.Module
    output: pytree.TreeSpec
    guards: Guards


def tensors_of(args: Any, kwargs: Any) -> list[Tensor]:
    """The tensors among a call's arguments, in the order of the graph's placeholders."""
    return [v for v in pytree.tree_leaves((args, kwargs)) if isinstance(v, Tensor)]


def capture(model: nn.Module, kind: type[nn.Module], args: Any, kwargs: Any) -> Captured:
    """The graph of `kind.forward` for these arguments: tensors vary, all else is as it is now.

    Raises CaptureError.
    """
    with _generators_kept(), _explained():
        recorder = _Recorder()
        snapshot = Snapshot(model, recorder.fake, recorder.leaf)
        recorder.paths = snapshot.paths
        reads = Reads(snapshot.guards, snapshot.unknown)
        recorder.paused = reads.paused

        def forward(*args: Any, **kwargs: Any) -> Any:
            with reads:
                return kind.forward(snapshot.copy, *args, **kwargs)

        graph, output = recorder.record(forward, args, kwargs)
        if snapshot.changed():
            raise CaptureError("its forward changes what its modules hold")
        snapshot.note(reads)
    return Captured(graph, model, output, snapshot.guards)


def recapture(graph: fx.GraphModule, inputs: tuple[Tensor, ...]) -> Captured:
    """The same of a graph that PyTorch's compiler made. Raises CaptureError."""
    with _generators_kept(), _explained():
        recorder = _Recorder()
        snapshot = Snapshot(graph, recorder.fake, recorder.leaf)
        recorder.paths = snapshot.paths
        recorded, output = recorder.record(_Named(snapshot.copy, recorder).run, inputs, {})
    return Captured(recorded, graph, output, snapshot.guards)


class _Named(fx.Interpreter):
    """Runs a graph whose nodes know the layers that they come from, and hands that on."""

    def __init__(self, module: fx.GraphModule, recorder: _Recorder) -> None:
        super().__init__(module)
        self.recorder = recorder

    def run_node(self, n: fx.Node) -> Any:
        self.recorder.layers = n.meta.get("nn_module_stack")
        return super().run_node(n)


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except CaptureError:
        raise
    except UnreadableError as problem:
        raise CaptureError(str(problem)) from problem
    except Exception as problem:  # Any code of the model's own may run here.
        raise CaptureError(f"its forward cannot be followed: {problem}") from problem


@contextmanager
def _generators_kept() -> Iterator[None]:
    """Raises CaptureError, and undoes it, where random numbers were drawn outside the graph."""
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        torch_same = torch.equal(torch.get_rng_state(), before[0])
        arrays_same = pickle.dumps(np.random.get_state()) == pickle.dumps(before[2])
        drawn = not torch_same or not arrays_same or random.getstate() != before[1]
        torch.set_rng_state(before[0])
        random.setstate(before[1])
        np.random.set_state(before[2])
    if drawn:
        raise CaptureError("its forward draws random numbers outside of tensors")


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


class _Recorder(TorchFunctionMode):
    """Writes down the functions that are called with fake tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.paused: Callable[[], AbstractContextManager[None]] = nullcontext
        self.graph = fx.Graph()
        self.paths: dict[int, str] = {}
        self.layers: Any = None  # That what is recorded next comes from.
        self.mode = FakeTensorMode(allow_non_fake_inputs=True)
        self._nodes: dict[int, tuple[ref[Tensor], fx.Node]] = {}
        self._inside = False
        self._state: Any = None

    def fake(self, tensor: Tensor) -> Tensor:
        """A fake tensor of the same kind."""
        made = self.mode.from_tensor(tensor, static_shapes=True)
        assert isinstance(made, Tensor)
        return made

    def record(
        self, forward: Callable[..., Any], args: Any, kwargs: Any
    ) -> tuple[fx.Graph, pytree.TreeSpec]:
        """Run it once."""
        leaves, spec = pytree.tree_flatten((args, kwargs))
        inputs = [self._input(i, v) if isinstance(v, Tensor) else v for i, v in enumerate(leaves)]
        fakes, named = pytree.tree_unflatten(inputs, spec)
        gradients = torch.set_grad_enabled(torch.is_grad_enabled())  # Restores what a model sets.
        # Checkpointing around the model would count what is saved here.
        saved = torch.autograd.graph.saved_tensors_hooks(_as_it_is, _as_it_is)
        with gradients, saved, self.mode, _nothing_remembered(), self:
            self._state = _state()
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
        """Call a layer's copy, as one node; those inside it are called as they are."""
        if self._inside:
            return _call(module, args, kwargs)
        self._inside = True
        try:
            with self.paused():
                return self._layer(path, module, args, kwargs)
        finally:
            self._inside = False

    def _layer(self, path: str, module: nn.Module, args: Any, kwargs: Any) -> Any:
        self._check()
        inputs = self._tensors((args, kwargs))
        versions = [t._version for t in inputs]
        result = _call(module, args, kwargs)
        weight = getattr(module, "weight", None)
        node = self._node("call_module", path, args, kwargs)
        node.meta["weight"] = weight
        return self._made(node, result, inputs, versions)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self._inside:
            return func(*args, **(kwargs or {}))
        with self.paused():
            return self._function(func, args, kwargs or {})

    def _function(self, func: Any, args: Any, kwargs: Any) -> Any:
        self._check()
        inputs = self._tensors((args, kwargs))
        versions = [t._version for t in inputs]
        result = func(*args, **kwargs)
        if is_value(result) and not (result is None and getattr(func, "__name__", "") != "__get__"):
            return result
        return self._made(self._called(func, args, kwargs), result, inputs, versions)

    def _called(self, func: Any, args: Any, kwargs: Any) -> fx.Node:
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
        return self._is(fake, self.graph.placeholder(f"input_{number}"))

    def _argument(self, value: Any) -> Any:
        if isinstance(value, slice):
            return slice(*map(self._argument, (value.start, value.stop, value.step)))
        return self._of(value) if isinstance(value, Tensor) else value

    def _of(self, tensor: Tensor) -> fx.Node:
        known = self._nodes.get(id(tensor))
        if known is not None and known[0]() is tensor:
            return known[1]
        if id(tensor) not in self.paths:
            raise CaptureError("it reads a tensor that is neither a parameter nor a buffer of its")
        self._is(tensor, self.graph.create_node("get_attr", self.paths[id(tensor)]))
        return self._nodes[id(tensor)][1]

    def _tensors(self, values: Any) -> list[Tensor]:
        found = [v for v in pytree.tree_leaves(values) if isinstance(v, Tensor)]
        for tensor in found:
            self._of(tensor)
        return found

    def _is(self, tensor: Tensor, node: fx.Node) -> Tensor:
        with torch._C.DisableTorchFunction():
            node.meta["val"] = tensor.detach()  # Its shape as it is now.
        self._nodes[id(tensor)] = ref(tensor), node
        return tensor

    def _made(self, node: fx.Node, result: Any, inputs: list[Tensor], versions: list[int]) -> Any:
        """Note a node's result, and what it overwrote."""
        for tensor, version in zip(inputs, versions, strict=True):
            if tensor._version != version:
                self._overwritten(node, tensor, result)
        if isinstance(result, Tensor):
            return self._is(result, node)
        if not isinstance(result, (tuple, list)) or not all(
            isinstance(part, Tensor) or is_value(part) for part in result
        ):
            raise CaptureError(f"{node} makes a {type(result).__name__}")
        node.meta["val"] = tuple(result)
        for i, part in enumerate(result):
            if isinstance(part, Tensor):
                found = self.graph.call_function(operator.getitem, (node, i))
                found.meta["part"] = True
                self._is(part, found)
        return result

    def _overwritten(self, node: fx.Node, tensor: Tensor, result: Any) -> None:
        before, storage = self._of(tensor), tensor.untyped_storage()._cdata
        others = [t for known, _ in self._nodes.values() if (t := known()) is not None]
        if any(t is not tensor and t.untyped_storage()._cdata == storage for t in others):
            raise CaptureError(f"{node} overwrites an array that may have a second name")
        state = id(tensor) in self.paths or tensor.dim() < 2  # Of a layer: read when it is used.
        if result is not tensor and not state:
            raise CaptureError(f"{node} overwrites a part of an array")
        if before.op == "placeholder" and not state:
            raise CaptureError(f"{node} overwrites an input")

    def _check(self) -> None:
        if _state() != self._state:
            raise CaptureError(
                "a part of it runs without gradients, in another type or checkpointed"
            )


def _is_method(func: Any) -> bool:
    """Whether a function is a tensor's method, written in C or in Python."""
    owner = getattr(func, "__qualname__", "").rpartition(".")[0]
    return owner in ("Tensor", "TensorBase")


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor


def _call(module: nn.Module, args: Any, kwargs: Any) -> Any:
    if isinstance(module, Drop):  # Which would count as a call of a seeded layer.
        return torch.empty_like(args[0])
    return type(module).forward(module, *args, **kwargs)


def _state() -> Any:
    """What changes operations without being an argument of theirs."""
    saved = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", lambda ignore: None)
    cast = [(torch.is_autocast_enabled(d), torch.get_autocast_dtype(d)) for d in ("cpu", "cuda")]
    modes = torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_default_dtype()
    return modes, cast, saved(True)


@contextmanager
def _nothing_remembered() -> Iterator[None]:
    """Autocast would keep the fake weights that it made, and give them to the real operations."""
    enabled = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(enabled)
