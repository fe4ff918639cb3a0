"""The engine of a compact model: what to run for a call, and what the last call ran."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from dataclasses import dataclass
from math import fsum
from typing import Any

import torch
from torch import Tensor, nn

from mapdrop.backends.torch._internals import (
    COMPACT_LACKS,
    DropoutBase,
    dispatch_modes,
    pytree,
    transformed,
)
from mapdrop.torch.compact.cost_model import Costs
from mapdrop.torch.compact.report import Report, report
from mapdrop.torch.compact.schedule import Schedule, scheduler, with_parts
from mapdrop.torch.graph.capture import Captured
from mapdrop.torch.graph.hooks import all_hooked

_CALLS = 64  # Kinds of calls that are remembered to skip nothing: the most recent ones.
_AGAIN = 16  # After so many calls that skip nothing it is seen whether they still would.

Made = Schedule | str
"""What was run for a part of a model, or the reason why it ran as it is."""


@dataclass
class _Whole:
    """A kind of call that skips nothing: why, with which rates, and for how many more calls."""

    made: list[Made]
    rates: list[Any]
    left: int = _AGAIN


class Engine:
    """What one model of class `kind` runs."""

    kind: type[nn.Module]
    costs: Costs | None

    def __init__(self, kind: type[nn.Module], costs: Costs | None) -> None:
        def forward(model: nn.Module, args: Any, kwargs: Any) -> Any:
            return kind.forward(model, *args, **kwargs)

        self.kind, self.costs = kind, costs
        self._captured = Captured(forward, scheduler(costs))
        self._whole: OrderedDict[Any, _Whole] = OrderedDict()
        self._drops: list[nn.Module] = []
        self._warned = False
        self.plans: list[Any] = []  # Of compiled graphs that the model is a part of.
        self.last: list[Made] = [COMPACT_LACKS or "it was not called in training mode yet"]

    def forward(self, model: nn.Module, args: Any, kwargs: Any) -> Any:
        """Run the training forward."""
        leaves = [*args] if not kwargs else [*args, *kwargs.values()]
        if not all(isinstance(leaf, Tensor) for leaf in leaves):
            leaves = pytree.tree_leaves((args, kwargs))
        reason = self._unfit([leaf for leaf in leaves if isinstance(leaf, Tensor)])
        if reason:
            self.last = [reason]
            return self.kind.forward(model, *args, **kwargs)
        key = _key(leaves)
        whole = self._whole.get(key)
        if whole is not None and whole.left and whole.rates == self._rates():
            whole.left -= 1
            self.last = whole.made
            return self.kind.forward(model, *args, **kwargs)
        result = self._captured(model, args, kwargs)
        self.last = self._captured.made or ["PyTorch's compiler cannot follow its forward"]
        self._remember(model, key)
        return result

    def _remember(self, model: nn.Module, key: Any) -> None:
        """Note whether such a call skips nothing: then the model need not be asked each time.

        If what is skipped changes meanwhile, the results are right all the same.
        """
        if any(isinstance(made, Schedule) and made.skips for made in self.last):
            self._whole.pop(key, None)
            return
        self._drops = [m for m in model.modules() if isinstance(m, DropoutBase)]
        self._whole[key] = _Whole(self.last, self._rates())
        if len(self._whole) > _CALLS:
            self._whole.popitem(last=False)

    def _rates(self) -> list[Any]:
        """Return the rates that decide what is skipped: of scheduled layers their own."""
        return [
            (drop.training, getattr(vars(drop).get("scheduled"), "own", drop.p))
            for drop in self._drops
        ]

    @property
    def schedules(self) -> list[Schedule]:
        """What the last call ran of the captured graphs, and of what is checkpointed in them."""
        return [made for made in self._every if isinstance(made, Schedule)]

    @property
    def _every(self) -> list[Made]:
        return [made for part in self.last for made in with_parts(part)]

    def report(self, measured: bool) -> Report:
        """Return the report of the last call."""
        parts = [report(made, measured) for made in self.schedules]
        lines = tuple(line for part in parts for line in part.lines)
        branches = tuple(branch for part in parts for branch in part.branches)
        reasons = tuple(dict.fromkeys(made for made in self._every if isinstance(made, str)))
        if lines or branches:
            products, done = sum(p.products for p in parts), fsum(p.done for p in parts)
            return Report(lines, "", reasons, branches, products, done)
        return Report((), "; ".join(reasons) or "no convolution or Linear is called")

    def _unfit(self, tensors: list[Tensor]) -> str:
        """Return why the model must run as it is for these inputs; "" if it need not."""
        if all_hooked():
            return "hooks for all modules are registered, and see every layer's whole arrays"
        strange = next((t for t in tensors if type(t) not in (Tensor, nn.Parameter)), None)
        if strange is not None:
            self._warn_of(type(strange).__name__)
            return f"its input is a {type(strange).__name__}, not a plain tensor"
        if torch.is_inference_mode_enabled():
            return "it runs in inference mode"
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


def _are_plain(tensors: list[Tensor]) -> bool:
    """Return whether there are tensors, all with values, and nothing intercepts operations."""
    return (
        bool(tensors)
        and not any(t.is_meta for t in tensors)
        and not transformed()
        and dispatch_modes() == 0
    )


def _key(leaves: list[Any]) -> Any:
    """Return what tells apart kinds of calls, of which one may skip more than another."""
    kinds = [
        (v.shape, v.dtype, v.device, v.requires_grad) if isinstance(v, Tensor) else type(v)
        for v in leaves
    ]
    return (*kinds, torch.is_grad_enabled(), torch.is_autocast_enabled("cpu"))
