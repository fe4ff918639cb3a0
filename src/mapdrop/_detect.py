"""Whose array is this? Imports no framework: who holds its array has imported it."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any, TypeVar

# framework's module: the classes of its arrays. mapdrop.arrays has a module of the same name.
FRAMEWORKS = {
    "numpy": ("ndarray",),
    "torch": ("Tensor",),
    "jax": ("Array",),
    "tensorflow": ("Tensor", "Variable"),
}

Function = TypeVar("Function")
_found: dict[type, ModuleType] = {}


def as_written(function: Function) -> Function:
    """Mark it for TensorFlow's AutoGraph, which would rewrite what a tf.function calls.

    It warns of what it cannot read, such as the import below.
    """
    function.autograph_info__ = None  # type: ignore[attr-defined]
    return function


@as_written
def arrays_for(x: Any) -> ModuleType:
    """The module of `mapdrop.arrays` that works on x. Raises TypeError for other things."""
    kind = type(x)
    if kind not in _found:
        _found[kind] = _look(x)
    return _found[kind]


def _look(x: Any) -> ModuleType:
    for framework, arrays in FRAMEWORKS.items():
        module = sys.modules.get(framework)
        # A framework that is being imported has no arrays yet.
        if any(isinstance(x, getattr(module, array, ())) for array in arrays):
            return import_module(f"mapdrop.arrays.{framework}")
    known = ", ".join(f"{framework}.{arrays[0]}" for framework, arrays in FRAMEWORKS.items())
    raise TypeError(
        f"mapdrop works on {known}, not on {type(x).__module__}.{type(x).__qualname__}; "
        "for plain numbers and lists, numpy.asarray(x, dtype=float) makes an array"
    )
