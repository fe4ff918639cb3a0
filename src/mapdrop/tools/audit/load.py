"""Load what is to be audited: a function of the user's that returns a model and its inputs."""

from __future__ import annotations

import importlib
import sys
import traceback
from dataclasses import dataclass
from typing import Any

from torch import nn


class LoadError(Exception):
    """The user's code cannot be had or raises; the text says what and where."""


@dataclass(frozen=True)
class Case:
    """A model, and what it is called with."""

    model: nn.Module
    inputs: tuple[Any, ...]
    kwargs: dict[str, Any]


def load(target: str) -> Case:
    """Return what "module:function" returns: (model, *inputs), the last one a dict of keywords.

    Modules are found in the present folder, too, as by `python -m`.

    Raises:
        ValueError: for a target of another form, or that returns anything else.
        LoadError: where the module or the function raises.
    """
    module, colon, name = target.partition(":")
    if not (module and colon and name):
        raise ValueError(f"{target!r} is not module:function, as in my_project.models:example")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        function = getattr(importlib.import_module(module), name, None)
    except (Exception, SystemExit) as problem:
        raise LoadError(f"{module} cannot be imported: {told(problem)}") from problem
    if not callable(function):
        raise ValueError(f"{module} has no function {name!r}")
    try:
        returned = function()
    except (Exception, SystemExit) as problem:
        raise LoadError(f"{target} raises {told(problem)}") from problem
    return _case(target, returned)


def _case(target: str, returned: Any) -> Case:
    parts = returned if isinstance(returned, tuple) else (returned,)
    if not isinstance(parts[0] if parts else None, nn.Module) or len(parts) < 2:
        kinds = ", ".join(type(part).__name__ for part in parts)
        raise ValueError(
            f"{target} returns ({kinds}), and not a torch.nn.Module with its inputs: "
            "return model, x, or model, {'name': x} for keyword arguments"
        )
    model, *inputs = parts
    kwargs = inputs.pop() if isinstance(inputs[-1], dict) else {}
    return Case(model, tuple(inputs), kwargs)


def told(problem: BaseException) -> str:
    """Return what an exception of the user's code says, and where it was raised."""
    last = traceback.extract_tb(problem.__traceback__)[-1:]
    at = "".join(f" ({frame.filename}:{frame.lineno})" for frame in last)
    return f"{type(problem).__name__}: {problem}{at}"
