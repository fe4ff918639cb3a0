"""The engine of a compact model: a schedule for each kind of call, valid while its guards hold."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mapdrop.backends.torch import sharding
from mapdrop.backends.torch._internals import COMPACT_LACKS, dispatch_modes, pytree, transformed
from mapdrop.torch.compact.capture.capture import capture, tensors_of
from mapdrop.torch.compact.capture.guards import Guards, is_value
from mapdrop.torch.compact.capture.hooks import all_hooked
from mapdrop.torch.compact.capture.recorder import CaptureError
from mapdrop.torch.compact.capture.snapshot import module_guards
from mapdrop.torch.compact.cost_model import Costs
from mapdrop.torch.compact.drops import drops_maps, has_exact_drops
from mapdrop.torch.compact.dynamo import CompiledForward
from mapdrop.torch.compact.lowering import lower
from mapdrop.torch.compact.report import Report, report
from mapdrop.torch.compact.schedule import Schedule

_CALLS = 64  # Kinds of calls whose schedules are kept: the most recent ones.
_STATES = 8  # Schedules of each kind of call, for different states of the model.
_MISSES = 16  # Calls in a row without a valid schedule, after which a model runs as it is.

Program = Schedule | CompiledForward | str
"""What to run for a call, or the reason why the model runs as it is."""


@dataclass
class _Entry:
    """What to run while the guards hold."""

    guards: Guards
    program: Program


class Engine:
    """The schedules of one model of class `kind`."""

    def __init__(self, kind: type[nn.Module], costs: Costs | None) -> None:
        self.kind, self.costs = kind, costs
        self._entries: OrderedDict[Any, list[_Entry]] = OrderedDict()
        self._misses = 0
        self._warned = False
        self.last: Program = COMPACT_LACKS or "it was not called in training mode yet"

    def forward(self, model: nn.Module, args: Any, kwargs: Any) -> Any:
        """Run the training forward."""
        tensors = tensors_of(args, kwargs)
        reason = self._unfit(tensors)
        if reason:
            self.last = reason
            return self.kind.forward(model, *args, **kwargs)
        static = _reading_masks_waits(tensors) and has_exact_drops(model)
        self.last = program = self._program(model, args, kwargs, static, dynamo=True)
        if isinstance(program, str) or not program.skips:
            return self.kind.forward(model, *args, **kwargs)
        if isinstance(program, CompiledForward):
            return program.run(model, args, kwargs)
        return program.run(tensors)

    def static_schedule(self, model: nn.Module, args: Any, kwargs: Any) -> Schedule | None:
        """Return a schedule of which no step reads a mask on the host; None if it skips nothing."""
        self.last = program = self._program(model, args, kwargs, static=True, dynamo=False)
        return program if isinstance(program, Schedule) and program.skips else None

    def report(self, measured: bool) -> Report:
        """Return the report of the last call."""
        if isinstance(self.last, str):
            return Report((), self.last)
        if isinstance(self.last, CompiledForward):
            parts = [report(schedule, measured) for schedule in self.last.schedules]
            return Report(tuple(line for part in parts for line in part.lines))
        return report(self.last, measured)

    def _unfit(self, tensors: list[Tensor]) -> str:
        """Return why the model must run as it is for these inputs; "" if it need not."""
        if all_hooked():
            return "hooks for all modules are registered, and see every layer's whole arrays"
        strange = next((t for t in tensors if type(t) not in (Tensor, nn.Parameter)), None)
        if strange is not None:
            self._warn_of(type(strange).__name__)
            return f"its input is a {type(strange).__name__}, not a plain tensor"
        if not _are_plain(tensors):
            return "its inputs are not plain tensors, or something transforms them"
        return ""

    def _warn_of(self, name: str) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"compact skips nothing for a {name}, as its operations may do more than a "
                "tensor's; give the model x.as_subclass(torch.Tensor) instead of x",
                stacklevel=2,
            )

    def _program(
        self, model: nn.Module, args: Any, kwargs: Any, static: bool, dynamo: bool
    ) -> Program:
        """Return what to run for such a call of the model in its present state.

        Args:
            model, args, kwargs: the call.
            static: whether shapes must not depend on masks.
            dynamo: whether PyTorch's compiler may capture a model that `capture` cannot.
        """
        key = _key(args, kwargs, static, dynamo)
        if key is None:
            return "it is given more than tensors and plain values"
        entries = self._entries.setdefault(key, [])
        self._entries.move_to_end(key)
        if len(self._entries) > _CALLS:
            self._entries.popitem(last=False)
        for at, entry in enumerate(entries):
            if entry.guards.hold():
                entries.insert(0, entries.pop(at))
                self._misses = 0
                return entry.program
        self._misses += bool(entries)
        if self._misses > _MISSES:
            return "what its forward reads changes with nearly every call"
        entries.insert(0, self._make_entry(model, args, kwargs, static, dynamo))
        del entries[_STATES:]
        return entries[0].program

    def _make_entry(
        self, model: nn.Module, args: Any, kwargs: Any, static: bool, dynamo: bool
    ) -> _Entry:
        try:
            captured = capture(model, self.kind, args, kwargs)
        except CaptureError as problem:
            drops = dynamo and any(drops_maps(module) for module in model.modules())
            program = CompiledForward(self.kind, self.costs) if drops else str(problem)
            return _Entry(module_guards(model), program)
        device = tensors_of(args, kwargs)[0].device
        return _Entry(captured.guards, lower(captured, self.costs, device, static))


def _are_plain(tensors: list[Tensor]) -> bool:
    """Return whether there are tensors, all with values, and nothing intercepts operations."""
    return (
        bool(tensors)
        and not any(t.is_meta for t in tensors)
        and not transformed()
        and dispatch_modes() == 0
    )


def _reading_masks_waits(tensors: list[Tensor]) -> bool:
    """Return whether the host would have to wait for a device to read a mask."""
    return any(not t.is_cpu for t in tensors)


def _key(args: Any, kwargs: Any, static: bool, dynamo: bool) -> Any:
    """Return what tells kinds of calls apart: all but tensors' values; None for other objects."""
    leaves, structure = pytree.tree_flatten((args, kwargs))
    kinds: list[Any] = []
    for leaf in leaves:
        if isinstance(leaf, Tensor):
            kinds.append((leaf.shape, leaf.stride(), leaf.dtype, leaf.device, leaf.requires_grad))
        elif is_value(leaf):
            kinds.append((type(leaf), repr(leaf)))
        else:
            return None
    device = next((leaf.device.type for leaf in leaves if isinstance(leaf, Tensor)), "cpu")
    autocast = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device)
    modes = torch.is_grad_enabled(), autocast, torch.get_default_dtype(), sharding.current()
    return tuple(kinds), structure, modes, static, dynamo
