"""compact(): the same model, whose training forward leaves out the maps that dropout drops."""

from __future__ import annotations

import sys
from collections import OrderedDict
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from mapdrop.arrays.torch import shards
from mapdrop.torch.compact.backend import Compiled
from mapdrop.torch.compact.capture import (
    CaptureError,
    GivenUpError,
    bound,
    capture,
    hooked,
    plain_attributes,
)
from mapdrop.torch.compact.cost import Costs
from mapdrop.torch.compact.drops import drops_maps
from mapdrop.torch.compact.planner import Schedule, plan
from mapdrop.torch.compact.report import Report, report
from mapdrop.torch.compact.shapes import note_shapes
from mapdrop.torch.compact.tracing import VIEWS, traceable, traced

Model = TypeVar("Model", bound=nn.Module)
_ENGINE = "_mapdrop_compact"
_SCHEDULES = 64  # Of the shapes that were met last.


class Engine:
    """A model's schedules, one for each kind of call; they are made anew in a copy of the model."""

    def __init__(self, kind: type[nn.Module], costs: Costs | None) -> None:
        self.kind, self.costs = kind, costs
        self.schedules: OrderedDict[Any, Schedule | Compiled | str] = OrderedDict()
        self.given_up = ""
        self.last: Schedule | Compiled | str = "it was not called in training mode yet"

    def __getstate__(self) -> dict[str, Any]:
        return {"kind": self.kind, "costs": self.costs}

    def __setstate__(self, state: dict[str, Any]) -> None:
        Engine.__init__(self, **state)

    def __deepcopy__(self, memo: Any) -> Engine:
        return Engine(self.kind, self.costs)

    def forward(self, model: nn.Module, args: Any, kwargs: Any) -> Any:
        """The training forward. PyTorch's compiler leaves it to run as it is.

        What is skipped is known only when a step's masks are drawn.
        """
        if "torch._dynamo" not in sys.modules:  # It takes seconds to import.
            return self._forward(model, args, kwargs)
        return torch._dynamo.disable(self._forward)(model, args, kwargs)

    forward._torchdynamo_disable = True  # type: ignore[attr-defined]

    def _forward(self, model: nn.Module, args: Any, kwargs: Any) -> Any:
        arguments = bound(self.kind.forward, model, args, kwargs)
        tensors = {name: v for name, v in arguments.items() if isinstance(v, Tensor)}
        if self.given_up or not _plain(tensors):
            self.last = self.given_up or _not_plain(arguments, tensors)
            return self.kind.forward(model, *args, **kwargs)
        key = _key(model, arguments)
        schedule = self.schedules.get(key)
        if schedule is None or self._outdated(schedule, model):
            equal = _far(tensors) and traceable(model)
            schedule = self._schedule(model, arguments, equal, in_parts=True)
            self.schedules[key] = schedule
            if len(self.schedules) > _SCHEDULES:
                self.schedules.popitem(last=False)
        self.last = schedule
        if isinstance(schedule, str) or not schedule.skips:
            return self.kind.forward(model, *args, **kwargs)
        if isinstance(schedule, Compiled):
            return schedule.run(model, args, kwargs)
        return schedule.run(list(tensors.values()))

    def ahead(self, model: nn.Module, args: Any, kwargs: Any) -> Schedule | None:
        """A schedule of which no step reads a mask; None where it would skip nothing."""
        arguments = bound(self.kind.forward, model, args, kwargs)
        key = "ahead", _key(model, arguments), repr(_settings(model))
        if key not in self.schedules:
            self.schedules[key] = self._schedule(model, arguments, equal=True, in_parts=False)
        self.last = schedule = self.schedules[key]
        return schedule if isinstance(schedule, Schedule) and schedule.skips else None

    def tensors(self, model: nn.Module, args: Any, kwargs: Any) -> list[Tensor]:
        """The tensors among a call's arguments, in the order in which schedules take them."""
        arguments = bound(self.kind.forward, model, args, kwargs)
        return [v for v in arguments.values() if isinstance(v, Tensor)]

    def _outdated(self, schedule: Schedule | Compiled | str, model: nn.Module) -> bool:
        """Whether the model's settings changed; PyTorch's compiler looks after that itself."""
        traced = isinstance(schedule, Schedule) and schedule.skips
        return traced and schedule.settings != _settings(model)  # type: ignore[union-attr]

    def _schedule(
        self, model: nn.Module, arguments: dict[str, Any], equal: bool, in_parts: bool
    ) -> Schedule | Compiled | str:
        """Equal: as many maps of every sample; in parts: those that PyTorch's compiler finds."""
        try:
            captured = capture(model, self.kind, arguments)
            values = captured.bind(arguments)
            note_shapes(captured, values)
            schedule = plan(captured, self.costs, values[0].device, equal)
            schedule.settings = _settings(model)
            return schedule
        except GivenUpError as problem:
            self.given_up = str(problem)
            return self.given_up
        except CaptureError as problem:
            drops = in_parts and any(drops_maps(module) for module in model.modules())
            return Compiled(self.kind, self.costs) if drops else str(problem)

    def report(self, measured: bool) -> Report:
        """Of the last call's schedule."""
        if isinstance(self.last, str):
            return Report((), self.last)
        if isinstance(self.last, Compiled):
            parts = [report(schedule, measured) for schedule in self.last.schedules]
            return Report(tuple(line for part in parts for line in part.lines))
        return report(self.last, measured)


def _plain(tensors: dict[str, Tensor]) -> bool:
    """Whether the tensors have values, and nobody transforms or compiles what is done to them."""
    return (
        bool(tensors)
        and all(type(t) is Tensor and not t.is_meta for t in tensors.values())
        and not torch._C._are_functorch_transforms_active()
        and torch._C._len_torch_dispatch_stack() == 0
        and torch.autograd.forward_ad._current_level < 0
    )


def _far(tensors: dict[str, Tensor]) -> bool:
    """Whether the host would wait for a device where it read a mask."""
    return any(not t.is_cpu for t in tensors.values())


def _exporting() -> bool:
    return bool(getattr(torch.compiler, "is_exporting", lambda: False)())


def _key(model: nn.Module, arguments: dict[str, Any]) -> Any:
    """What a schedule depends on: the arguments' shapes, each module's state, the shards."""
    given = tuple(
        (v.shape, v.dtype, v.device) if isinstance(v, Tensor) else (name, repr(v))
        for name, v in arguments.items()
    )
    modules = tuple(map(_state, _modules(model)))
    device = next(v.device.type for v in arguments.values() if isinstance(v, Tensor))
    cast = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device)
    return given, modules, cast, shards.current()


def _modules(model: nn.Module) -> list[nn.Module]:
    """`model.modules()`, which also makes their names: too slow for every call."""
    found = {id(model): model}
    ahead = [model]
    while ahead:
        for child in ahead.pop()._modules.values():
            if child is not None and id(child) not in found:
                found[id(child)] = child
                ahead.append(child)
    return list(found.values())


def _state(module: nn.Module) -> Any:
    own = module.__dict__  # A missing attribute of a module takes long to be found missing.
    fixed = own.get("source") is None
    return id(module), own["training"], hooked(module), own.get("p"), fixed


def _settings(model: nn.Module) -> Any:
    """What the modules' code may look at."""
    return [plain_attributes(module) for module in _modules(model)]


def _not_plain(arguments: dict[str, Any], tensors: dict[str, Tensor]) -> str:
    if not tensors and any(isinstance(v, tuple | dict) for v in arguments.values()):
        return "its forward takes *args or **kwargs"
    return "its inputs are not plain tensors, or something transforms them"


class Compact:
    """What `compact` adds to a model's class."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The model's own forward; in training mode without the maps that are dropped."""
        engine: Engine = self.__dict__[_ENGINE]
        if not self.training or _exporting():  # type: ignore[attr-defined]
            return engine.kind.forward(self, *args, **kwargs)
        if torch.compiler.is_compiling() and traceable(self):  # type: ignore[arg-type]
            return traced(self, args, kwargs)  # type: ignore[arg-type]
        return engine.forward(self, args, kwargs)  # type: ignore[arg-type]

    def report(self, *, measured: bool = False) -> Report:
        """What the last training call skipped and what it left whole, and why.

        Times are predicted by the cost model; with `measured`, each operation that skips is also
        timed alone, whole and as planned, on random values.
        """
        engine: Engine = self.__dict__[_ENGINE]
        return engine.report(measured)

    def __reduce_ex__(self, protocol: Any) -> Any:
        engine: Engine = self.__dict__[_ENGINE]
        return _again, (engine.kind,), self.__dict__


def _class(kind: type[nn.Module]) -> type[nn.Module]:
    return type(f"Compact{kind.__name__}", (Compact, kind), {"__module__": kind.__module__})


def _again(kind: type[nn.Module]) -> nn.Module:
    model: nn.Module = object.__new__(_class(kind))
    VIEWS[id(model)] = model
    return model


def compact(model: Model, costs: Costs | None = None) -> Model:
    """The same model, trained without computing the feature maps that dropout drops.

    In training mode a dropped map is neither computed by the convolution before it nor read by the
    one after it, forward or backward. The result and all gradients are those of the model itself
    with the same random numbers, up to rounding. `nn.Dropout1d`, `2d` and `3d` and the layers of
    `mapdrop.torch` that drop whole maps or whole samples count. Where skipping would not pay, or an
    operation is unknown, the model computes as it is; `fast.report()` says what is skipped. Under
    `torch.compile` a model whose drops keep an exact number (`exact="c"`) is part of the compiled
    graph; any other stays a part of its own, with a graph break.

    Args:
        model: any module. It is not changed.
        costs: a machine's constants, which decide where skipping pays. Without them they are
            measured when they are first needed, in a tenth of a second; runs that must agree to
            the last bit want the same ones, kept from `mapdrop.torch.compact.measured()`.

    Returns:
        A view of the model: an instance of its class, with the same parameters, buffers, hooks,
        state dict and training flag. Modules that have hooks are called as they are, with whole
        arrays. The running statistics of a BatchNorm are left as they were for maps that no sample
        needed.

    Raises:
        TypeError: for anything but a module.

    >>> model = nn.Sequential(nn.Conv2d(3, 64, 3), nn.Dropout2d(0.5), nn.Conv2d(64, 9, 1))
    >>> fast = mapdrop.torch.compact(model)
    >>> fast(torch.ones(2, 3, 8, 8)).shape, fast[0] is model[0]
    (torch.Size([2, 9, 6, 6]), True)
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"compact takes a torch.nn.Module, not {type(model).__name__}")
    kind = model.__dict__[_ENGINE].kind if isinstance(model, Compact) else type(model)
    view: Any = _again(kind)
    view.__dict__ = model.__dict__
    view.__dict__[_ENGINE] = Engine(kind, costs)
    return view  # type: ignore[no-any-return]
