"""Drop layers of any library: which modules drop, and at what rate."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from mapdrop.backends.torch._internals import DropoutBase

RATES = (
    *("p", "drop_prob", "drop_rate", "dropout_p", "dropout_prob", "dropout_rate", "dropout"),
    *("drop_path_prob", "rate"),
)
"""The names that a rate has in the libraries that were looked at."""
_NAME = re.compile(r"drop(?!let|box)|stochastic_?depth", re.IGNORECASE)
_INSIDE = (nn.MultiheadAttention, nn.RNNBase)
_SCRIPTED_INSIDE = {"MultiheadAttention", "RNN", "LSTM", "GRU"}


def is_drop_layer(module: nn.Module) -> bool:
    """Return whether a module does nothing but drop.

    PyTorch's layers and mapdrop's are known by their base. Others are modules without parts and
    parameters that say so: by the name of their class, or by a `drop_prob`, as copies of drop path
    have it whatever they are called.
    """
    if isinstance(module, DropoutBase):
        return True
    alone = next(module.children(), None) is None and next(module.parameters(), None) is None
    return alone and (is_drop_name(class_name(module)) or hasattr(module, "drop_prob"))


def drops_inside(module: nn.Module) -> bool:
    """Return whether a module is one of PyTorch's that have parameters, and drop if it is given."""
    scripted = isinstance(module, torch.jit.ScriptModule)
    return isinstance(module, _INSIDE) or (scripted and class_name(module) in _SCRIPTED_INSIDE)


def is_drop_name(name: str) -> bool:
    """Return whether the name of a class or function says that it drops."""
    return _NAME.search(name) is not None


def class_name(module: nn.Module) -> str:
    """Return the name of a module's class; of what TorchScript compiled, that of the original."""
    return str(getattr(module, "original_name", type(module).__name__))


def rate_of(module: nn.Module) -> float | None:
    """Return the rate of a module that drops; None if it has none under a usual name."""
    return rate_among({name: getattr(module, name, None) for name in RATES})


def rate_among(given: Mapping[str, Any]) -> float | None:
    """Return the rate among attributes or arguments; None if no usual name has one."""
    for name in RATES:
        value = given.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1:
            return float(value)
    return None
