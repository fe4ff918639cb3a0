"""Whose array is this? Imports no framework: who holds its array has imported it."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

# framework's module: the class of its arrays. mapdrop.arrays has a module of the same name.
FRAMEWORKS = {"numpy": "ndarray", "torch": "Tensor"}

_found: dict[type, ModuleType] = {}


def arrays_for(x: Any) -> ModuleType:
    """The module of `mapdrop.arrays` that works on x. Raises TypeError for other things."""
    kind = type(x)
    if kind not in _found:
        _found[kind] = _look(x)
    return _found[kind]


def _look(x: Any) -> ModuleType:
    for framework, array in FRAMEWORKS.items():
        module = sys.modules.get(framework)
        if module is not None and isinstance(x, getattr(module, array)):
            return import_module(f"mapdrop.arrays.{framework}")
    known = ", ".join(f"{framework}.{array}" for framework, array in FRAMEWORKS.items())
    raise TypeError(
        f"mapdrop works on {known}, not on {type(x).__module__}.{type(x).__qualname__}; "
        "for plain numbers and lists, numpy.asarray(x, dtype=float) makes an array"
    )
