"""compact() inside a graph of torch.compile: lowered while PyTorch's compiler traces the model.

The compiler's front end does not look into `trace`, but its back end records what that does to fake
tensors. Masks have no values then, so that only drops with an exact count can skip anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mapdrop.backends.torch._internals import (
    constant_in_dynamo,
    nonstrict_trace,
    pytree,
    without_modes,
)
from mapdrop.backends.torch.source import Source
from mapdrop.torch.compact.capture.capture import tensors_of
from mapdrop.torch.compact.capture.snapshot import beyond
from mapdrop.torch.compact.schedule import Schedule
from mapdrop.torch.layers import Drop

VIEWS: WeakValueDictionary[int, nn.Module] = WeakValueDictionary()
"""Compact models by `id`. The compiler passes numbers and tensors to `trace`, but no modules."""


def has_exact_drops(model: nn.Module) -> bool:
    """Return whether any layer of the model drops an exact number."""
    return any(isinstance(m, Drop) and m.exact is not None for m in model.modules())


@constant_in_dynamo
def can_follow(number: int) -> bool:
    """Return whether the compiler guards everything that the view of that number reads."""
    view: Any = VIEWS[number]
    if nonstrict_trace() is None:
        return False
    other = beyond(view, view.mapdrop_kind, is_guarded)
    if other:
        view._mapdrop_engine.last = f"a compiled graph cannot follow what it reads: {other}"
    return not other


def forward_under_compile(model: nn.Module, args: Any, kwargs: Any) -> Any:
    """Run the training forward while PyTorch's compiler traces it."""
    for at, module in enumerate(model.modules()):
        for name in _guarded_attributes(id(model))[at]:
            _guard(getattr(module, name))
    parameters, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    nonstrict: Any = nonstrict_trace()
    return nonstrict(trace)(id(model), parameters, buffers, args, kwargs)


def _guard(value: Any) -> None:
    """Use a value where the compiler sees it, so that it compiles again when the value changes."""
    if isinstance(value, dict):
        for key in value:
            _guard(value[key])
    elif isinstance(value, (list, tuple)):
        for part in value:
            _guard(part)
    elif not isinstance(value, float):
        str(value)  # The compiler does not guard what is read but not used.
    elif value - value == 0:
        value.as_integer_ratio()  # Otherwise a number that changed once would become a variable.


@constant_in_dynamo
def _guarded_attributes(number: int) -> list[list[str]]:
    """Return the names of the attributes of each module that the compiler can guard."""
    return [
        [name for name, value in vars(module).items() if name[0] != "_" and is_guarded(value)]
        for module in VIEWS[number].modules()
    ]


def is_guarded(value: Any) -> bool:
    """Return whether the compiler notices that a module's attribute of this value changes."""
    if isinstance(value, dict):
        return all(isinstance(key, str) for key in value) and all(map(is_guarded, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(is_guarded, value))
    return isinstance(value, (bool, int, float, str, NoneType, Source))


def trace(
    number: int,
    parameters: Mapping[str, Tensor],
    buffers: Mapping[str, Tensor],
    args: Any,
    kwargs: Any,
) -> Any:
    """Run the training forward, with the model's tensors as arguments that the compiler knows."""
    model: Any = VIEWS[number]
    engine = model._mapdrop_engine
    with without_modes():
        schedule = engine.static_schedule(model, _real_like(args), _real_like(kwargs))
    tensors = {f"model.{name}": t for name, t in {**parameters, **buffers}.items()}
    return functional_call(_Forward(model, schedule), tensors, args, kwargs, tie_weights=True)


class _Forward(nn.Module):
    """The training forward as a module, for `functional_call`."""

    def __init__(self, model: nn.Module, schedule: Schedule | None) -> None:
        super().__init__()
        self.model, self.schedule = model, schedule

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        model: Any = self.model
        if self.schedule is None:
            return model._mapdrop_engine.kind.forward(model, *args, **kwargs)
        result = self.schedule.run(tensors_of(args, kwargs))
        self.schedule.last = None  # Its masks are the compiler's, and have no values.
        return result


def _real_like(values: Any) -> Any:
    """Return real tensors of the same shapes, to lower with."""
    return pytree.tree_map_only(
        Tensor,
        lambda t: torch.empty(tuple(int(n) for n in t.shape), dtype=t.dtype, device=t.device),
        values,
    )
