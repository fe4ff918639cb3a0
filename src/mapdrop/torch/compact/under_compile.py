"""compact() inside one compiled graph: planned while PyTorch's compiler traces the model.

The compiler's front end leaves `recorded` alone; what that does to fake tensors is written down by
the back end, as any operation is. So only what needs no mask's values can be skipped there: the
maps of drops with an exact count.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn
from torch.nn.utils.stateless import _reparametrize_module
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import _disable_current_modes

from mapdrop.backends.torch.source import Source
from mapdrop.torch.compact.capture.capture import tensors_of
from mapdrop.torch.compact.capture.snapshot import beyond
from mapdrop.torch.layers import Drop

VIEWS: WeakValueDictionary[int, nn.Module] = WeakValueDictionary()
"""Compacted models by `id`: what the compiler hands to `recorded` is a number or a tensor."""


def traceable(model: nn.Module) -> bool:
    """Whether anything in the model drops an exact number."""
    return any(isinstance(m, Drop) and m.exact is not None for m in model.modules())


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def followable(number: int) -> bool:
    """Whether the compiler sees all that the view of that number reads."""
    view: Any = VIEWS[number]
    other = beyond(view, view.mapdrop_kind, followed)
    if other:
        view._mapdrop_engine.last = f"a compiled graph cannot follow what it reads: {other}"
    return not other


def traced(model: nn.Module, args: Any, kwargs: Any) -> Any:
    """The training forward, for `torch.compile`."""
    for at, module in enumerate(model.modules()):
        for name in _settings(id(model))[at]:
            _follow(getattr(module, name))
    parameters, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    # Public in later versions of PyTorch.
    trace = getattr(torch.compiler, "nonstrict_trace", None) or torch._dynamo.nonstrict_trace
    return trace(recorded)(id(model), parameters, buffers, args, kwargs)


def _follow(value: Any) -> None:
    """Read a value where the compiler sees it, which compiles anew when it changes."""
    if isinstance(value, dict):
        for key in value:
            _follow(value[key])
    elif isinstance(value, (list, tuple)):
        for part in value:
            _follow(part)
    elif not isinstance(value, float):
        str(value)  # What is read but not used the compiler does not guard.
    elif value - value == 0:
        value.as_integer_ratio()  # Else a number that changed once would be a variable.


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _settings(number: int) -> list[list[str]]:
    """The attributes of a model's modules that the compiler can follow, by name."""
    return [
        [name for name, value in vars(module).items() if name[0] != "_" and followed(value)]
        for module in VIEWS[number].modules()
    ]


def followed(value: Any) -> bool:
    """Whether the compiler notices a change of a module's attribute."""
    if isinstance(value, dict):
        return all(isinstance(key, str) for key in value) and all(map(followed, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(followed, value))
    return isinstance(value, (bool, int, float, str, NoneType, Source))


def recorded(
    number: int,
    parameters: Mapping[str, Tensor],
    buffers: Mapping[str, Tensor],
    args: Any,
    kwargs: Any,
) -> Any:
    """The same with the model's tensors as arguments, so that the compiler knows of them."""
    model: Any = VIEWS[number]
    engine = model._mapdrop_engine
    with _disable_current_modes():
        schedule = engine.ahead(model, _likenesses(args), _likenesses(kwargs))
    with _reparametrize_module(model, {**parameters, **buffers}, tie_weights=True):
        if schedule is None:
            return engine.kind.forward(model, *args, **kwargs)
        result = schedule.run(tensors_of(args, kwargs))
        schedule.last = None  # Its masks are the compiler's, and have no values.
        return result


def _likenesses(values: Any) -> Any:
    """Real tensors of the same shapes, for planning."""
    return pytree.tree_map_only(
        Tensor,
        lambda t: torch.empty(tuple(int(n) for n in t.shape), dtype=t.dtype, device=t.device),
        values,
    )
