"""What a compiled graph follows of the values that a model's forward reads.

PyTorch's compiler guards the arguments, what belongs to every module, and what `use` reads while it
traces. A plan is made of what a forward read once, so nothing else of that may ever change.
"""

from __future__ import annotations

import ast
import functools
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType, NoneType
from typing import Any, NamedTuple

import torch
from torch import nn

from mapdrop.backends.torch._internals import OPERATORS
from mapdrop.backends.torch.source import Source
from mapdrop.torch.graph.graph import GraphError

_STRUCTURE = ("TYPE_MATCH", "ID_MATCH", "MODULE_MATCH", "CLOSURE_MATCH", "DUPLICATE_INPUT")
_IMPORTED = "__import_"
_NAMED = (ModuleType, FunctionType, MethodType, type)
_OF_MODULES = frozenset(vars(nn.Module())) - {"training"}
_CODE: tuple[type, ...] = (
    FunctionType,
    BuiltinFunctionType,
    MethodType,
    ModuleType,
    type,
    property,
    *OPERATORS,
    torch.dtype,
    torch.layout,
    torch.device,
    torch.memory_format,
)


class Place(NamedTuple):
    """Where a value is.

    Attributes:
        module: the name of the Python module where the steps begin; "" for the model.
        steps: (True, the name of an attribute), or (False, the key of an item).
    """

    module: str
    steps: tuple[tuple[bool, Any], ...]

    def value(self, model: Any) -> Any:
        """Return the value. The compiler traces this, too."""
        value: Any = sys.modules[self.module] if self.module else model
        for named, key in self.steps:
            value = getattr(value, key) if named else value[key]
        return value


def places_read(guards: Iterable[Any], model: nn.Module) -> tuple[Place, ...]:
    """Return where the values are that the compiler has to guard. Raises GraphError if it cannot.

    Args:
        guards: of all that the model's forward reads (see `Reading`).
        model: the model.
    """
    found: dict[Place, None] = {}
    for guard in guards:
        if not guard.name or guard.name.startswith(("args", "kwargs", "function")):
            continue  # The last is the forward itself, as its class has it.
        if guard.guard_type in _STRUCTURE or isinstance(guard.value, _CODE):
            continue
        expression = ast.parse(guard.name, mode="eval").body
        place = _place(expression)
        if place is not None and _belongs_to_modules(place, model):
            continue
        if place is not None and place.steps and is_guarded(place.value(model)):
            found[place] = None
        elif not _is_of_library(expression, model):
            raise GraphError(guard.name)
    return tuple(found)


def _place(expression: ast.expr | None) -> Place | None:
    """Return what a guard's name says, if that is a chain of attributes and items."""
    match expression:
        case ast.Name(id="model"):
            return Place("", ())
        case ast.Subscript(value=ast.Name(id="G"), slice=ast.Constant(value=str(name))):
            module = name.removeprefix(_IMPORTED).replace("_dot_", ".")
            return Place(module, ()) if module in sys.modules else None
        case ast.Attribute(value=inner, attr=name) if not name.startswith("__"):
            return _step(_place(inner), (True, name))
        case ast.Subscript(value=ast.Call(func=ast.Name(id="dict"), args=[of]), slice=key):
            # dict(type(x).__dict__)["name"]: an attribute of the class.
            name = getattr(key, "value", "")
            return _step(_place(_instance(of)), (True, name)) if name[:2] != "__" else None
        case ast.Subscript(value=inner, slice=ast.Constant(value=key)):
            return _step(_place(inner), (False, key))
    return None


def _step(place: Place | None, step: tuple[bool, Any]) -> Place | None:
    return place and place._replace(steps=(*place.steps, step))


def _instance(expression: ast.expr) -> ast.expr | None:
    """Return x of `type(x).__dict__`, or of `type(x).__mro__[1].__dict__`."""
    while isinstance(expression, (ast.Attribute, ast.Subscript)):
        expression = expression.value
    match expression:
        case ast.Call(func=ast.Name(id="type"), args=[inner]):
            return inner
    return None


def _belongs_to_modules(place: Place, model: nn.Module) -> bool:
    """Return whether a place is one that every module has, as `_parameters` is."""
    value: Any = model
    for named, key in () if place.module else place.steps:
        if isinstance(value, nn.Module) and named and key != "_modules":
            return key in _OF_MODULES
        value = getattr(value, key) if named else value[key]
    return not place.module and isinstance(value, (nn.Module, dict))


def _is_of_library(expression: ast.expr, model: nn.Module) -> bool:
    """Return whether what a guard's name says belongs to a library: nobody changes that."""
    match expression:
        case ast.Subscript(ast.Attribute(attr="__mro__") as bases, ast.Constant(int(number))):
            place = _place(_instance(bases))
            return place is not None and _is_installed(type(place.value(model)).__mro__[number])
        case ast.Call(args=[first, *_]):
            return _is_of_library(first, model)
    place = _place(expression)
    if place is not None:
        value = sys.modules[place.module] if place.module else place.value(model)
        return _is_installed(value if isinstance(value, _NAMED) else type(value))
    match expression:
        case ast.Attribute(value=inner) | ast.Subscript(value=inner):
            return _is_of_library(inner, model)
    return False


def _is_installed(thing: Any) -> bool:
    """Return whether a module, or what is defined in one, was installed or is Python's own."""
    name = thing.__name__ if isinstance(thing, ModuleType) else thing.__module__
    own = name.partition(".")[0] == "mapdrop" or thing is object
    return own or _is_installed_module(name)


@functools.cache
def _is_installed_module(name: str) -> bool:
    file = getattr(sys.modules.get(name), "__file__", None)
    folders = (sysconfig.get_path(kind) for kind in ("stdlib", "purelib", "platlib"))
    return file is not None and any(Path(file).is_relative_to(folder) for folder in folders)


def is_guarded(value: Any) -> bool:
    """Return whether the compiler notices when a value changes that `use` has used."""
    if isinstance(value, dict):
        return all(isinstance(key, str) for key in value) and all(map(is_guarded, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(is_guarded, value))
    return isinstance(value, (bool, int, float, str, NoneType, Source))


def use(value: Any) -> None:
    """Use a value where the compiler sees it, so that it compiles again when the value changes."""
    if isinstance(value, dict):
        for key in value:
            use(value[key])
    elif isinstance(value, (list, tuple)):
        for part in value:
            use(part)
    elif not isinstance(value, float):
        str(value)  # The compiler does not guard what is read but not used.
    elif value - value == 0:
        value.as_integer_ratio()  # Otherwise a number that changed once would become a variable.
