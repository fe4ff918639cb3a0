"""compact(): the same model, whose training forward leaves out the maps that dropout drops."""

from __future__ import annotations

import functools
from typing import Any, TypeVar

import torch
from torch import nn

from mapdrop.backends.torch._internals import COMPACT_LACKS, dynamo_imported, skipped_by_dynamo
from mapdrop.torch.compact.cost_model import Costs
from mapdrop.torch.compact.engine import Engine
from mapdrop.torch.compact.report import Report
from mapdrop.torch.compact.views import VIEWS

Model = TypeVar("Model", bound=nn.Module)


class Compact(nn.Module):
    """What `compact` adds to a model's class."""

    mapdrop_kind: type[nn.Module]
    _mapdrop_engine: Engine

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Make an object of a view's class, as slicing an `nn.Sequential` does, with an engine."""
        new = super().__new__
        view = new(cls) if new is object.__new__ else new(cls, *args, **kwargs)
        return _with_engine(view, None)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the model's own forward; in training mode without the maps that are dropped."""
        if COMPACT_LACKS or not self.training or _is_exporting():
            return super().forward(*args, **kwargs)
        if torch.compiler.is_compiling():
            from mapdrop.torch.compact.under_compile import forward_under_compile

            result = forward_under_compile(self, args, kwargs)
            if result is not NotImplemented:
                return result
        return _training_forward(self, args, kwargs)

    def report(self, *, measured: bool = False) -> Report:
        """Return what the last training call skipped and what it did not, and why.

        Times are predicted by the cost model. With `measured`, each operation that skips is also
        timed alone, dense and as chosen, on random values.
        """
        return self._mapdrop_engine.report(measured)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _view, (type(self).mapdrop_kind, self._mapdrop_engine.costs), self.__dict__


def _is_exporting() -> bool:
    return bool(getattr(torch.compiler, "is_exporting", lambda: False)())


@skipped_by_dynamo
def _training_forward(view: Compact, args: Any, kwargs: Any) -> Any:
    """Run the engine's forward, which PyTorch's compiler must not trace."""
    forward = view._mapdrop_engine.forward
    if dynamo_imported():  # To import it takes seconds.
        forward = torch.compiler.disable(forward)
    return forward(view, args, kwargs)


@functools.cache
def _view_class(kind: Any) -> Any:
    """Return a subclass of the model's class, of the same name, with a slot for the engine."""
    members = {
        "__module__": kind.__module__,
        "__slots__": ("_mapdrop_engine",),
        "mapdrop_kind": kind,
    }
    return type(kind.__name__, (Compact, kind), members)


def _view(kind: Any, costs: Costs | None) -> Any:
    return _with_engine(object.__new__(_view_class(kind)), costs)


def _with_engine(view: Any, costs: Costs | None) -> Any:
    view._mapdrop_engine = Engine(type(view).mapdrop_kind, costs)
    VIEWS[id(view)] = view
    return view


def compact(model: Model, costs: Costs | None = None) -> Model:
    """Return the same model, trained without computing the feature maps that dropout drops.

    In training mode a dropped map is neither computed by the convolution before it nor read by the
    one after it, forward or backward, and a residual branch runs for the samples that drop path
    keeps. The result and all gradients are those of the model itself with the same random numbers,
    up to rounding. This works for `nn.Dropout1d`, `2d` and `3d`, for the layers of `mapdrop.torch`
    that drop whole maps or whole samples, and for drop path as timm, torchvision and transformers
    write it. If skipping would not pay, or an operation is unknown, the model computes as it is;
    `compact_report` says what is skipped. Under `torch.compile` a model whose drops keep a
    known number (`exact="c"`; of samples also `balance="b"`) becomes part of the compiled graph;
    any other causes a graph break.

    Args:
        model: any module. It is not changed.
        costs: a machine's constants, which decide where skipping pays. By default they are
            measured when they are first needed, in about a second. Runs that must agree to
            the last bit need the same ones: save what `mapdrop.torch.compact.calibrate()` returns.

    Returns:
        A view of the model: an instance of its class, with the same parameters, buffers, hooks,
        state dict and training flag. Modules that have hooks are called as they are, with dense
        arrays. A BatchNorm keeps the running statistics of maps that no sample needed.

    Raises:
        TypeError: if `model` is not a module.

    Examples:
        >>> model = nn.Sequential(nn.Conv2d(3, 64, 3), nn.Dropout2d(0.5), nn.Conv2d(64, 9, 1))
        >>> fast = mapdrop.torch.compact(model)
        >>> fast(torch.ones(2, 3, 8, 8)).shape, fast[0] is model[0]
        (torch.Size([2, 9, 6, 6]), True)
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"compact takes a torch.nn.Module, not {type(model).__name__}")
    kind = model.mapdrop_kind if isinstance(model, Compact) else type(model)
    view: Model = _view(kind, costs)
    view.__dict__ = model.__dict__
    return view


def compact_report(model: nn.Module, *, measured: bool = False) -> Report:
    """Return what a compact model's last training call skipped, and why it skipped nothing else.

    This is `model.report()` for type checkers: `compact` returns the model's own type, which has
    no such method.

    Args:
        model: what `compact` returned.
        measured: whether to time each operation that skips, alone, dense and as chosen.

    Returns:
        The report, whose text is a table: each convolution and Linear, and each residual branch,
        with predicted milliseconds, and with measured ones where that was asked for.

    Raises:
        TypeError: if `compact` did not return the model.

    Examples:
        >>> fast = mapdrop.torch.compact(nn.Sequential(nn.Conv2d(3, 64, 3), nn.Dropout2d(0.5)))
        >>> print(mapdrop.torch.compact_report(fast))
        nothing is skipped: it was not called in training mode yet

        With `measured`, each line has the seconds of a training step too, dense and as chosen; here
        of a model that is made to skip whatever it can.

        >>> from mapdrop.torch.compact import Costs
        >>> always = Costs(own=1e15, own_call=0.0, margin=0.0, least=0.0)
        >>> net = nn.Sequential(nn.Conv2d(3, 64, 3), nn.Dropout2d(0.5), nn.Conv2d(64, 9, 1))
        >>> fast = mapdrop.torch.compact(net, always)
        >>> y = fast(torch.ones(8, 3, 16, 16))
        >>> for line in mapdrop.torch.compact_report(fast, measured=True).lines:
        ...     print(line.name, line.reads, line.makes, line.measured is not None)
        0 1.0 0.5 True
        2 0.5 1.0 True
    """
    if not isinstance(model, Compact):
        raise TypeError(
            f"compact_report takes what compact returned, not a {type(model).__name__}: "
            "fast = compact(model), and then compact_report(fast)"
        )
    return model.report(measured=measured)
