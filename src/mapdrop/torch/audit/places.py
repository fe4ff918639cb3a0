"""Places: where in a model's code an operation is called, by which layer, and with which rate."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import nn

import mapdrop
from mapdrop.torch.drop_layers import is_drop_layer, is_drop_name, rate_among, rate_of

UNKNOWN = "unknown"
_POSITIONS = {
    **{f"{kind}dropout": 1 for kind in ("", "feature_", "alpha_", "feature_alpha_", "native_")},
    **{f"{kind}dropout_": 1 for kind in ("", "feature_", "alpha_", "feature_alpha_")},
    "scaled_dot_product_attention": 4,
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), 5),
}
"""Where the rate stands in a call of a function of PyTorch's that is written in C."""
_LIBRARIES = tuple(f"{Path(str(library.__file__)).parent}{os.sep}" for library in (torch, mapdrop))


@dataclass(frozen=True)
class Place:
    """Where a drop is called.

    Attributes:
        layer: the drop layer that calls; None if the model's own code does.
        name: of that layer in the model, or of the layer whose code calls.
        kind: the class of the drop layer, or the name of the function or operation; UNKNOWN in
            code that is not Python's, as TorchScript's.
        where: the line of the model's code, "file.py:12"; "" if only PyTorch's code calls.
        p: the rate that it is called with; None if that is unknown.
    """

    layer: nn.Module | None
    name: str
    kind: str
    where: str
    p: float | None


def is_visible(module: nn.Module) -> bool:
    """Return whether a module is a drop layer and shows its calls, which TorchScript does not."""
    return is_drop_layer(module) and not isinstance(module, torch.jit.ScriptModule)


def place(names: Mapping[nn.Module, str], call: Call | None) -> Place:
    """Return where the operation that runs now is called.

    Args:
        names: of the model's modules.
        call: the function of PyTorch's that runs.
    """
    layer: nn.Module | None = None
    owner: nn.Module | None = None
    function = where = ""
    p = None if call is None else call.rate
    for frame in _frames():
        module = frame.f_locals.get("self")
        module = module if isinstance(module, nn.Module) and module in names else None
        owner = owner or module
        given = _argument(frame)
        if module is not None and is_visible(module):
            layer, owner, where = module, module, ""
            p = rate_of(module) if p is None else p
        elif frame.f_code.co_filename.startswith(_LIBRARIES):
            p = given if p is None else p
        elif (
            module is None
            and p is None
            and given is not None
            and is_drop_name(frame.f_code.co_name)
        ):
            p, function, where = given, frame.f_code.co_name, ""  # A function that drops.
        else:
            where = where or f"{shown(frame.f_code.co_filename)}:{frame.f_lineno}"
            if module is not None:
                break
    kind = type(layer).__name__ if layer is not None else function
    name = names[owner] if owner is not None else ""
    return Place(layer, name, kind or (call.name if call is not None else UNKNOWN), where, p)


@dataclass(frozen=True, eq=False)
class Call:
    """A call of a function of PyTorch's, as the model writes it."""

    name: str
    args: Any
    kwargs: Any

    @property
    def rate(self) -> float | None:
        """The rate that is given to it by position or by name; None if it takes none."""
        at = _POSITIONS.get(self.name)
        by_position = {} if at is None or len(self.args) <= at else {"p": self.args[at]}
        return rate_among({**self.kwargs, **by_position}) if at is not None else None


def forward_around(layer: str, modules: Mapping[str, nn.Module]) -> str:
    """Return the line of the forward that should call a layer; "" if only PyTorch's does."""
    while layer:
        layer = layer.rpartition(".")[0]
        code = getattr(inspect.unwrap(type(modules[layer]).forward), "__code__", None)
        if code is not None and not code.co_filename.startswith(_LIBRARIES):
            return f"{shown(code.co_filename)}:{code.co_firstlineno}"
    return ""


def run_model(model: nn.Module, args: Any, kwargs: Any) -> Any:
    """Call a model; what is above this call is none of the model's."""
    return model(*args, **kwargs)


def _frames() -> Iterator[FrameType]:
    """Yield the frames of the model's code, from the inside."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_code is not run_model.__code__:
        yield frame
        frame = frame.f_back


def _argument(frame: FrameType) -> float | None:
    """Return the rate among the arguments of a function that runs."""
    code = frame.f_code
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return rate_among({name: frame.f_locals.get(name) for name in names})


def shown(file: str) -> str:
    """Return a file's name as short as it is still clear."""
    _, installed, inside = file.rpartition(f"{os.sep}site-packages{os.sep}")
    if installed:
        return inside
    here = os.path.relpath(file)
    return file if here.startswith(os.pardir) else here
