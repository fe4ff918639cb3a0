"""Find the backend for an array. Imports no framework: whoever has its array has imported it."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, TypeVar

from mapdrop.backends.unsupported import unsupported


def _numpy() -> ModuleType:
    from mapdrop.backends import numpy

    return numpy


def _torch() -> ModuleType:
    from mapdrop.backends import torch

    return torch


def _jax() -> ModuleType:
    from mapdrop.backends import jax

    return jax


def _tensorflow() -> ModuleType:
    from mapdrop.backends import tensorflow

    return tensorflow


# Framework: the classes of its arrays, and a function that imports its backend. These are import
# statements because torch.compile, which may run this first, follows no other form.
FRAMEWORKS = {
    "numpy": (("ndarray",), _numpy),
    "torch": (("Tensor", "fx.Proxy"), _torch),
    "jax": (("Array",), _jax),
    "tensorflow": (("Tensor", "Variable"), _tensorflow),
}

Function = TypeVar("Function")
_found: dict[type, ModuleType] = {}


def as_written(function: Function) -> Function:
    """Keep TensorFlow's AutoGraph from rewriting a function that a tf.function calls.

    It warns of what it cannot read, such as the import below.
    """
    function.autograph_info__ = None  # type: ignore[attr-defined]
    return function


@as_written
def backend_for(x: Any) -> ModuleType:
    """Return the module of `mapdrop.backends` that works on x. Raises TypeError for others."""
    backend = _found.get(type(x))
    if backend is None:
        backend = _found[type(x)] = _look(x)
    return backend


def _class(module: ModuleType | None, name: str) -> Any:
    """Return a class of the framework, or an empty tuple if it has none of that name."""
    for part in name.split("."):
        module = getattr(module, part, None)
    return module or ()


def _look(x: Any) -> ModuleType:
    for framework, (arrays, imported) in FRAMEWORKS.items():
        module = sys.modules.get(framework)
        # A framework that is still being imported has no arrays yet.
        if any(isinstance(x, _class(module, array)) for array in arrays):
            return imported()
    raise unsupported(x)
