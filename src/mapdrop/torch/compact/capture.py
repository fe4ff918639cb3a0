"""A model as a graph, by torch.fx: its layers stay whole, what is between them is traced."""

from __future__ import annotations

import builtins
import inspect
import operator
import pickle
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from mapdrop.torch.layers import Drop

_IN_PLACE_FUNCTIONS = {torch.nn.functional.relu_, torch.relu_}


class CaptureError(Exception):
    """A model that cannot be captured; the text says why."""


class GivenUpError(CaptureError):
    """A model that no way of capturing fits."""


@dataclass(frozen=True)
class Captured:
    """The nodes in order, the module that their targets are found in, and how calls are bound."""

    graph: fx.Graph
    owner: nn.Module
    tensors: tuple[str, ...]

    def bind(self, arguments: Mapping[str, Any]) -> list[Tensor]:
        """The placeholders' values in order."""
        return [arguments[name] for name in self.tensors]


class _Array(fx.Proxy):
    """Stands for a tensor; `y += x` overwrites it, which torch.fx would forget."""


def _augmented(name: str) -> Any:
    def overwrite(self: _Array, other: Any) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", getattr(operator, name), (self, other), {})

    return overwrite


for _name in ("iadd", "isub", "imul", "itruediv", "ifloordiv", "ipow", "imatmul"):
    setattr(_Array, f"__{_name}__", _augmented(_name))


@contextmanager
def _taken_for_tensors() -> Iterator[None]:
    """Code that asks whether a proxy is a tensor is told that it is.

    Not by the proxy's class, which PyTorch's compiled code would believe too.
    """
    real = builtins.isinstance

    def isinstance_(value: Any, kind: Any) -> bool:
        if type(value) is _Array and (kind is Tensor or (type(kind) is tuple and Tensor in kind)):
            return True
        return real(value, kind)

    builtins.isinstance = isinstance_
    try:
        yield
    finally:
        builtins.isinstance = real


class _Tracer(fx.Tracer):
    def __init__(self) -> None:
        super().__init__()
        self.proxy_buffer_attributes = True
        self.grad = torch.is_grad_enabled()

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        if torch.is_grad_enabled() != self.grad:
            raise GivenUpError("a part of it runs without gradients")
        return super().create_node(*args, **kwargs)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Array(node, self)

    def create_arg(self, a: Any) -> Any:
        # First, because PyTorch would ask whether it is a tensor, and keep it as a constant.
        return a.node if type(a) is _Array else super().create_arg(a)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if isinstance(m, Drop) or hooked(m):
            return True
        return bool(super().is_leaf_module(m, module_qualified_name))


def hooked(module: nn.Module) -> bool:
    """Whether somebody watches the module: then it is called as it is, with whole arrays."""
    own = module.__dict__
    return bool(
        own["_forward_hooks"]
        or own["_forward_pre_hooks"]
        or own["_backward_hooks"]
        or own["_backward_pre_hooks"]
    )


def bound(forward: Any, model: nn.Module, args: Any, kwargs: Any) -> dict[str, Any]:
    """The arguments of a call by name, with the defaults."""
    given = inspect.signature(forward).bind(model, *args, **kwargs)
    given.apply_defaults()
    arguments = dict(given.arguments)
    arguments.pop(next(iter(arguments)))
    return arguments


def capture(model: nn.Module, kind: type[nn.Module], arguments: Mapping[str, Any]) -> Captured:
    """The graph of `kind.forward` for these arguments: tensors vary, all else is as it is now.

    Raises CaptureError.
    """
    tensors = tuple(name for name, value in arguments.items() if isinstance(value, Tensor))
    code = inspect.signature(kind.forward)
    if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in code.parameters.values()):
        raise CaptureError("its forward takes *args or **kwargs")
    names = ", ".join(tensors)

    def forward(self: nn.Module, *given: Any) -> Any:
        return kind.forward(self, **{**arguments, **dict(zip(tensors, given, strict=True))})

    # fx traces the class's forward by its own signature: one with a parameter for each tensor.
    space: dict[str, Any] = {"traced": forward}
    exec(f"def forward(self, {names}): return traced(self, {names})", space)
    probe: nn.Module = object.__new__(type("Traced", (kind,), {"forward": space["forward"]}))
    probe.__dict__ = model.__dict__
    before = _state(model)
    try:
        with _taken_for_tensors():
            graph = _Tracer().trace(probe)
    except GivenUpError:
        raise
    except Exception as problem:  # Any code of the model's own may run here.
        raise CaptureError(f"torch.fx cannot follow it: {problem}") from problem
    finally:
        changed = _restored(model, before)
    if changed:
        raise GivenUpError(f"its forward changes {changed}")
    rename_overwritten(graph, model)
    return Captured(graph, model, tensors)


def plain_attributes(module: nn.Module) -> tuple[Any, ...]:
    """The numbers, names and flags that a module's own code may look at."""
    return tuple(
        (name, repr(value) if type(value) is tuple else value)
        for name, value in module.__dict__.items()
        if type(value) in (int, float, bool, str, tuple)
    )


def _state(model: nn.Module) -> Any:
    attributes = [dict(m.__dict__) for m in model.modules()]
    return attributes, torch.get_rng_state(), random.getstate(), np.random.get_state()


def _restored(model: nn.Module, before: Any) -> str:
    """What tracing changed, which is undone."""
    changed = ""
    for module, old in zip(model.modules(), before[0], strict=True):
        now = module.__dict__
        if any(name not in old or now[name] is not old[name] for name in now):
            changed = "attributes of its modules"
            now.clear()
            now.update(old)
    python = random.getstate() != before[2]
    arrays = pickle.dumps(np.random.get_state()) != pickle.dumps(before[3])
    if python or arrays or not torch.equal(torch.get_rng_state(), before[1]):
        changed = changed or "the state of a random generator"
        torch.set_rng_state(before[1])
        random.setstate(before[2])
        np.random.set_state(before[3])
    return changed


def overwrites(node: fx.Node, owner: nn.Module) -> bool:
    """Whether the node writes into its first argument."""
    if node.op == "call_module":
        return bool(getattr(owner.get_submodule(str(node.target)), "inplace", False))
    if node.kwargs.get("inplace"):
        return True
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    if node.op == "call_method":
        return str(name).endswith("_") and not str(name).endswith("__")
    marks = getattr(node.target, "__module__", "") == "_operator"
    inplace = name.endswith("_") or (marks and name in _AUGMENTED)
    return node.op == "call_function" and (inplace or _third_is_true(node))


_AUGMENTED = {
    "iadd", "isub", "imul", "itruediv", "ifloordiv", "ipow", "iand", "ior", "ixor", "imatmul",
    "setitem",
}  # fmt: skip


def _third_is_true(node: fx.Node) -> bool:
    """F.relu(x, True), F.dropout2d(x, p, training, True): inplace given by position."""
    try:
        parameters = list(inspect.signature(node.target).parameters)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    if "inplace" not in parameters:
        return False
    at = parameters.index("inplace")
    return len(node.args) > at and bool(node.args[at])


def rename_overwritten(graph: fx.Graph, owner: nn.Module) -> None:
    """Later uses of what was overwritten use the result of that. Raises CaptureError."""
    order = {node: i for i, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        if node.op in ("placeholder", "output", "get_attr") or not overwrites(node, owner):
            continue
        old = node.args[0] if node.args else None
        if not isinstance(old, fx.Node) or old.op == "get_attr":
            continue
        if node.target is operator.setitem:
            raise CaptureError(f"{node} overwrites a part of an array")
        others = [user for user in old.users if user is not node]
        if _may_alias(old, owner) or any(_may_alias(user, owner) for user in others):
            raise CaptureError(f"{node} overwrites an array that may have a second name")
        for user in others:
            if order[user] > order[node]:
                user.replace_input_with(old, node)


_FRESH = (
    nn.modules.conv._ConvNd, nn.modules.batchnorm._BatchNorm, nn.Linear,
    nn.modules.pooling._MaxPoolNd, nn.modules.pooling._AvgPoolNd, nn.PReLU,
    nn.ReLU, nn.GroupNorm, nn.LayerNorm,
    nn.modules.instancenorm._InstanceNorm, nn.Upsample, nn.LeakyReLU, nn.ELU, nn.SiLU, nn.GELU,
)  # fmt: skip
_FRESH_NAMES = {
    "add", "iadd", "sub", "mul", "truediv", "cat", "conv1d", "conv2d", "conv3d", "relu",
    "max_pool2d", "batch_norm", "linear", "interpolate", "pad", "sigmoid", "tanh", "avg_pool2d",
    "adaptive_avg_pool2d", "instance_norm", "leaky_relu", "prelu", "elu", "group_norm",
    "layer_norm", "concat", "size", "getattr", "dim",
}  # fmt: skip


def _may_alias(node: fx.Node, owner: nn.Module) -> bool:
    """Whether the node's result may share memory with another array."""
    if node.op == "call_module":
        module: Any = owner.get_submodule(str(node.target))
        if isinstance(module, (Drop, nn.modules.dropout._DropoutNd)):
            return not (module.training and module.p > 0)
        return not isinstance(module, _FRESH)
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    if str(name).startswith(("dropout", "feature_dropout")):
        p, training = (*node.args[1:3], 0.5, True)[:2]
        return not (node.kwargs.get("training", training) and node.kwargs.get("p", p))
    return node.op != "output" and str(name).rstrip("_") not in _FRESH_NAMES
