"""The frameworks, and which of them an array is of.

Imports no framework: whoever has its array has imported it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

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


class Framework(NamedTuple):
    """What is known of a framework without importing it.

    Attributes:
        title: the name that its users know.
        arrays: the classes of its arrays; none where it works on those of others.
        imported: imports the module of `mapdrop.backends` for them, by an import statement:
            torch.compile, which may run this first, follows nothing else.
        layers: other packages with layers for its arrays.
        runs_on: the frameworks that it works on, where it has no arrays of its own.
        extras: what pip installs it by, if that is not its name.
    """

    title: str
    arrays: tuple[str, ...] = ()
    imported: Callable[[], ModuleType] | None = None
    layers: tuple[str, ...] = ()
    runs_on: tuple[str, ...] = ()
    extras: str = ""


FRAMEWORKS = {
    "numpy": Framework("NumPy", ("ndarray",), _numpy),
    "torch": Framework("PyTorch", ("Tensor", "fx.Proxy"), _torch),
    "jax": Framework("JAX", ("Array",), _jax, layers=("flax", "equinox")),
    "tensorflow": Framework("TensorFlow", ("Tensor", "Variable"), _tensorflow),
    "keras": Framework("Keras", runs_on=("tensorflow", "torch", "jax"), extras="keras,tensorflow"),
}
"""All of them, by the names of their modules."""

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
    for name, framework in FRAMEWORKS.items():
        module = sys.modules.get(name)
        # A framework that is being imported has no arrays yet.
        if framework.imported and any(
            isinstance(x, _class(module, array)) for array in framework.arrays
        ):
            return framework.imported()
    raise unsupported(x)
