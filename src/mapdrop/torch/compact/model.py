"""compact(): the same model, whose training forward leaves out the maps that dropout drops."""

from __future__ import annotations

import functools
import sys
import warnings
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from mapdrop.backends.torch import sharding as shards
from mapdrop.torch.compact.capture.capture import CaptureError, capture, tensors_of
from mapdrop.torch.compact.capture.guards import Guards, is_value
from mapdrop.torch.compact.capture.hooks import all_hooked
from mapdrop.torch.compact.capture.snapshot import settings
from mapdrop.torch.compact.cost_model import Costs
from mapdrop.torch.compact.drops import drops_maps
from mapdrop.torch.compact.dynamo import Compiled
from mapdrop.torch.compact.lowering import Schedule, plan
from mapdrop.torch.compact.report import Report, report
from mapdrop.torch.compact.under_compile import VIEWS, followable, traceable, traced

Model = TypeVar("Model", bound=nn.Module)
_CALLS = 64  # Kinds of calls whose schedules are kept: those that were met last.
_STATES = 8  # Of the model, for each kind of call.
_MISSES = 16  # Calls in a row that found no schedule, after which a model computes as it is.


@dataclass
class _Known:
    """What is done for one kind of call while the guards hold."""

    guards: Guards
    schedule: Schedule | Compiled | str


class Engine:
    """A model's schedules, one for each kind of call; they are made anew in a copy of the model."""

    def __init__(self, kind: type[nn.Module], costs: Costs | None) -> None:
        self.kind, self.costs = kind, costs
        self._known: OrderedDict[Any, list[_Known]] = OrderedDict()
        self._misses = 0
        self._warned = False
        self.last: Schedule | Compiled | str = "it was not called in training mode yet"

    def forward(self, model: nn.Module, args: Any, kwargs: Any) -> Any:
        """The training forward. What is skipped is known only when a step's masks are drawn."""
        tensors = tensors_of(args, kwargs)
        reason = self._unfit(tensors)
        if reason:
            self.last = reason
            return self.kind.forward(model, *args, **kwargs)
        equal = _far(tensors) and traceable(model)
        schedule = self._schedule(model, args, kwargs, equal, in_parts=True)
        self.last = schedule
        if isinstance(schedule, str) or not schedule.skips:
            return self.kind.forward(model, *args, **kwargs)
        if isinstance(schedule, Compiled):
            return schedule.run(model, args, kwargs)
        return schedule.run(tensors)

    def ahead(self, model: nn.Module, args: Any, kwargs: Any) -> Schedule | None:
        """A schedule of which no step reads a mask; None where it would skip nothing."""
        self.last = schedule = self._schedule(model, args, kwargs, equal=True, in_parts=False)
        return schedule if isinstance(schedule, Schedule) and schedule.skips else None

    def _unfit(self, tensors: list[Tensor]) -> str:
        """Why this call is the model's own, if so."""
        if all_hooked():
            return "hooks for all modules are registered, and see every layer's whole arrays"
        strange = next((t for t in tensors if type(t) not in (Tensor, nn.Parameter)), None)
        if strange is not None:
            self._warn_of(type(strange).__name__)
            return f"its input is a {type(strange).__name__}, not a plain tensor"
        return (
            ""
            if _plain(tensors)
            else "its inputs are not plain tensors, or something transforms them"
        )

    def _warn_of(self, name: str) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"compact skips nothing for a {name}, as its operations may do more than a "
                "tensor's; give the model x.as_subclass(torch.Tensor) instead of x",
                stacklevel=2,
            )

    def _schedule(
        self, model: nn.Module, args: Any, kwargs: Any, equal: bool, in_parts: bool
    ) -> Schedule | Compiled | str:
        """What is done for such a call of the model as it is now."""
        key = _key(args, kwargs, equal, in_parts)
        if key is None:
            return "it is given more than tensors and plain values"
        known = self._known.setdefault(key, [])
        self._known.move_to_end(key)
        if len(self._known) > _CALLS:
            self._known.popitem(last=False)
        for at, each in enumerate(known):
            if each.guards.hold():
                known.insert(0, known.pop(at))
                self._misses = 0
                return each.schedule
        self._misses += bool(known)
        if self._misses > _MISSES:
            return "what its forward reads changes with nearly every call"
        known.insert(0, self._planned(model, args, kwargs, equal, in_parts))
        del known[_STATES:]
        return known[0].schedule

    def _planned(
        self, model: nn.Module, args: Any, kwargs: Any, equal: bool, in_parts: bool
    ) -> _Known:
        """Equal: as many maps of every sample; in parts: those that PyTorch's compiler finds."""
        try:
            captured = capture(model, self.kind, args, kwargs)
        except CaptureError as problem:
            drops = in_parts and any(drops_maps(module) for module in model.modules())
            own = Compiled(self.kind, self.costs) if drops else str(problem)
            return _Known(settings(model), own)
        device = tensors_of(args, kwargs)[0].device
        return _Known(captured.guards, plan(captured, self.costs, device, equal))

    def report(self, measured: bool) -> Report:
        """Of the last call's schedule."""
        if isinstance(self.last, str):
            return Report((), self.last)
        if isinstance(self.last, Compiled):
            parts = [report(schedule, measured) for schedule in self.last.schedules]
            return Report(tuple(line for part in parts for line in part.lines))
        return report(self.last, measured)


def _plain(tensors: list[Tensor]) -> bool:
    """Whether the tensors have values, and nobody transforms or compiles what is done to them."""
    return (
        bool(tensors)
        and not any(t.is_meta for t in tensors)
        and not torch._C._are_functorch_transforms_active()
        and torch._C._len_torch_dispatch_stack() == 0
        and torch.autograd.forward_ad._current_level < 0
    )


def _far(tensors: list[Tensor]) -> bool:
    """Whether the host would wait for a device where it read a mask."""
    return any(not t.is_cpu for t in tensors)


def _exporting() -> bool:
    return bool(getattr(torch.compiler, "is_exporting", lambda: False)())


def _key(args: Any, kwargs: Any, equal: bool, in_parts: bool) -> Any:
    """The kind of a call: its arguments but for tensors' values, and the state around it."""
    leaves, structure = pytree.tree_flatten((args, kwargs))
    given: list[Any] = []
    for leaf in leaves:
        if isinstance(leaf, Tensor):
            kind = leaf.shape, leaf.stride(), leaf.dtype, leaf.device, leaf.requires_grad
            given.append(kind)
        elif is_value(leaf):
            given.append((type(leaf), repr(leaf)))
        else:
            return None
    device = next((leaf.device.type for leaf in leaves if isinstance(leaf, Tensor)), "cpu")
    cast = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device)
    around = torch.is_grad_enabled(), cast, torch.get_default_dtype(), shards.current()
    return tuple(given), structure, around, equal, in_parts


def _training_forward(view: Any, args: Any, kwargs: Any) -> Any:
    """See `Engine.forward`. PyTorch's compiler leaves it to run as it is."""
    engine: Engine = view._mapdrop_engine
    if "torch._dynamo" not in sys.modules:  # It takes seconds to import.
        return engine.forward(view, args, kwargs)
    return torch.compiler.disable(engine.forward)(view, args, kwargs)


_training_forward._torchdynamo_disable = True  # type: ignore[attr-defined]


class Compact:
    """What `compact` adds to a model's class."""

    mapdrop_kind: type[nn.Module]
    _mapdrop_engine: Engine

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Make what a view's class is called for, as a slice of its layers is."""
        new = super().__new__
        view = new(cls) if new is object.__new__ else new(cls, *args, **kwargs)
        return _equipped(view, None)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The model's own forward; in training mode without the maps that are dropped."""
        if not self.training or _exporting():  # type: ignore[attr-defined]
            return super().forward(*args, **kwargs)  # type: ignore[misc]
        if torch.compiler.is_compiling() and traceable(self) and followable(id(self)):  # type: ignore[arg-type]
            return traced(self, args, kwargs)  # type: ignore[arg-type]
        return _training_forward(self, args, kwargs)

    def report(self, *, measured: bool = False) -> Report:
        """What the last training call skipped and what it left whole, and why.

        Times are predicted by the cost model; with `measured`, each operation that skips is also
        timed alone, whole and as planned, on random values.
        """
        return self._mapdrop_engine.report(measured)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _view, (type(self).mapdrop_kind, self._mapdrop_engine.costs), self.__dict__


@functools.cache
def _class(kind: Any) -> Any:
    """The model's class, of its name, with a place for the engine that is not the model's."""
    own = {"__module__": kind.__module__, "__slots__": ("_mapdrop_engine",), "mapdrop_kind": kind}
    return type(kind.__name__, (Compact, kind), own)


def _view(kind: type[nn.Module], costs: Costs | None) -> Any:
    key: Any = kind
    return _equipped(object.__new__(_class(key)), costs)


def _equipped(view: Any, costs: Costs | None) -> Any:
    view._mapdrop_engine = Engine(type(view).mapdrop_kind, costs)
    VIEWS[id(view)] = view
    return view


def compact(model: Model, costs: Costs | None = None) -> Model:
    """The same model, trained without computing the feature maps that dropout drops.

    In training mode a dropped map is neither computed by the convolution before it nor read by the
    one after it, forward or backward. The result and all gradients are those of the model itself
    with the same random numbers, up to rounding. `nn.Dropout1d`, `2d` and `3d` and the layers of
    `mapdrop.torch` that drop whole maps or whole samples count. Where skipping would not pay, or an
    operation is unknown, the model computes as it is; `compact_report` says what is skipped. Under
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
    view = _view(model.mapdrop_kind if isinstance(model, Compact) else type(model), costs)
    view.__dict__ = model.__dict__
    return view  # type: ignore[no-any-return]


def compact_report(model: nn.Module, *, measured: bool = False) -> Report:
    """Return what a compact model's last training call skipped, and why not where it did not.

    It is `model.report()`, for type checkers: `compact` returns the model's own type, which has no
    such method.

    Args:
        model: what `compact` returned.
        measured: whether to time each operation that skips, alone, whole and as planned.

    Raises:
        TypeError: for a model that `compact` did not return.

    >>> fast = mapdrop.torch.compact(nn.Sequential(nn.Conv2d(3, 64, 3), nn.Dropout2d(0.5)))
    >>> print(mapdrop.torch.compact_report(fast))
    nothing is skipped: it was not called in training mode yet
    """
    if not isinstance(model, Compact):
        raise TypeError(
            f"compact_report takes what compact returned, not a {type(model).__name__}: "
            "fast = compact(model), and then compact_report(fast)"
        )
    return model.report(measured=measured)
