"""What a compiled graph follows of the values that a model's forward reads.

PyTorch's compiler guards the arguments, what belongs to every module, and what `use` reads while it
traces. A plan is made of what a forward read once, so nothing else of that may ever change.
"""

from __future__ import annotations

import ast
import functools
import re
import sys
import sysconfig
from collections.abc import Iterable
from enum import Enum
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType, NoneType
from typing import Any, NamedTuple

import torch
from torch import nn

from mapdrop.backends.torch._internals import OPERATORS, SUBMODULES, guarded_attribute
from mapdrop.backends.torch.rate import ScheduledRate
from mapdrop.backends.torch.source import Source
from mapdrop.torch.graph.graph import GraphError

_STRUCTURE = ("TYPE_MATCH", "ID_MATCH", "MODULE_MATCH", "CLOSURE_MATCH", "DUPLICATE_INPUT")
_ABSENCE = ("HASATTR", "NOT_PRESENT_IN_GENERIC_DICT")
_IMPORTED = "__import_"
_NUMBERS = (bool, int, float, str, NoneType)
_NAMED = (ModuleType, FunctionType, MethodType, type)
_GENERATED = re.compile(r"G\['___\w+'\]")  # The globals of a function without a module.
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
        has: not the value counts, but whether it has this attribute; "" otherwise.
    """

    module: str
    steps: tuple[tuple[bool, Any], ...]
    has: str = ""

    def value(self, model: Any) -> Any:
        """Return the value. The compiler traces this, too."""
        value: Any = sys.modules[self.module] if self.module else model
        for named, key in self.steps:
            value = getattr(value, key) if named else value[key]
        return hasattr(value, self.has) if self.has else value


def places_read(guards: Iterable[Any], model: nn.Module) -> tuple[Place, ...]:
    """Return where the values are that the compiler has to guard. Raises GraphError if it cannot.

    Args:
        guards: of all that the model's forward reads (see `Reading`).
        model: the model.
    """
    found: dict[Place, None] = {}
    for guard in guards:
        try:
            place = _place_read(guard, model)
        except (SyntaxError, LookupError, AttributeError, TypeError) as problem:
            raise GraphError(guard.name) from problem
        if place is not None:
            found[place] = None
    return tuple(found)


def _place_read(guard: Any, model: nn.Module) -> Place | None:
    """Return where the compiler has to guard a value; None if nobody changes it."""
    expression = ast.parse(guard.name or "None", mode="eval").body
    roots = {node.id for node in ast.walk(expression) if isinstance(node, ast.Name)}
    if not roots & {"model", "function", "G"} or _GENERATED.fullmatch(guard.name):
        return None  # An argument, or a setting of PyTorch's: the compiler sees these.
    place, of_class = _place(expression), "type" in roots
    if place is not None and not (place.module or of_class):
        return _in_model(guard, place, model)
    if isinstance(guard.value, _CODE):
        return None
    if place is not None and isinstance(guard.value, _NUMBERS):
        if place.value(model) == guard.value:
            return place
        raise GraphError(f"{guard.name}, which it changes")
    own = "function" in roots and "__closure__" not in guard.name  # The forward's defaults.
    if own or _is_of_library(expression, model):
        return None
    raise GraphError(guard.name)


def _in_model(guard: Any, place: Place, model: nn.Module) -> Place | None:
    """As `_place_read`, for what a module or an object in it holds."""
    value = place.value(model)
    if _belongs_to_modules(place, model) and guard.guard_type != "HASATTR":
        return None
    if guard.guard_type in _ABSENCE:
        return place._replace(has=guarded_attribute(guard))
    if is_guarded(value):
        return place
    if guard.guard_type in _STRUCTURE:
        return None  # An object, of which what is read is guarded.
    if place.steps[-1] == (True, "handle") and isinstance(
        _holder(place, model), (Source, ScheduledRate)
    ):
        return None  # An input of the graph, which stands for its holder.
    raise GraphError(guard.name)


def _holder(place: Place, model: nn.Module) -> Any:
    return place._replace(steps=place.steps[:-1]).value(model)


def _place(expression: ast.expr | None) -> Place | None:
    """Return what a guard's name says, if that is a chain of attributes and items."""
    match expression:
        case ast.Name(id="model"):
            return Place("", ())
        case ast.Subscript(ast.Name(id="G"), ast.Constant(str(name))):
            module = name.removeprefix(_IMPORTED).replace("_dot_", ".")
            return Place(module, ()) if module in sys.modules else None
        case ast.Attribute(inner, name) if not name.startswith("__"):
            return _step(_place(inner), (True, name))
        case ast.Subscript(ast.Call(ast.Name(id="dict"), [of]), ast.Constant(str(name))):
            # dict(type(x).__dict__)["name"]: an attribute of the class.
            return None if name.startswith("__") else _step(_place(_instance(of)), (True, name))
        case ast.Subscript(inner, ast.Constant(key)):
            return _step(_place(inner), (False, key))
    return None


def _step(place: Place | None, step: tuple[bool, Any]) -> Place | None:
    return place and place._replace(steps=(*place.steps, step))


def _instance(expression: ast.expr) -> ast.expr | None:
    """Return x of `type(x).__dict__`, or of `type(x).__mro__[1].__dict__`."""
    while isinstance(expression, (ast.Attribute, ast.Subscript)):
        expression = expression.value
    match expression:
        case ast.Call(ast.Name(id="type"), [inner]):
            return inner
    return None


def _belongs_to_modules(place: Place, model: nn.Module) -> bool:
    """Return whether a place is a module, or what every module has, as `_parameters`."""
    value: Any = model
    for named, key in place.steps:
        if isinstance(value, nn.Module) and named and key != SUBMODULES:
            return key in _OF_MODULES
        value = getattr(value, key) if named else value[key]
    return isinstance(value, nn.Module) or place.steps[-1:] == ((True, SUBMODULES),)


def _is_of_library(expression: ast.expr, model: nn.Module) -> bool:
    """Return whether what a guard's name says belongs to a library's code: nobody changes that."""
    match expression:
        case ast.Subscript(ast.Attribute(attr="__mro__") as bases, ast.Constant(int(number))):
            place = _place(_instance(bases))
            return place is not None and _is_installed(type(place.value(model)).__mro__[number])
        case ast.Call(ast.Name(id="type"), [inner]):
            place = _place(inner)
            return place is not None and _is_installed(type(place.value(model)))
        case ast.Call(args=[first, *_]) | ast.Subscript(ast.Call(args=[first])):
            return _is_of_library(first, model)
    if isinstance(expression, ast.Name) and expression.id == "function":
        return _is_installed(getattr(model, "mapdrop_kind", type(model)).forward)
    place = _place(expression)
    if place is not None:
        value = sys.modules[place.module] if place.module else place.value(model)
        return isinstance(value, _NAMED) and _is_installed(value)
    match expression:
        case ast.Attribute(value=inner) | ast.Subscript(value=inner):
            return _is_of_library(inner, model)
    return False


def _is_installed(thing: Any) -> bool:
    """Return whether a module, or what is defined in one, was installed or is Python's own."""
    name = thing.__name__ if isinstance(thing, ModuleType) else getattr(thing, "__module__", None)
    own = thing is object or str(name).partition(".")[0] == "mapdrop"
    return own or _is_installed_module(str(name))


@functools.cache
def _is_installed_module(name: str) -> bool:
    file = getattr(sys.modules.get(name), "__file__", None)
    folders = (sysconfig.get_path(kind) for kind in ("stdlib", "purelib", "platlib"))
    return file is not None and any(Path(file).is_relative_to(folder) for folder in folders)


class Globals:
    """The globals of all modules that a user wrote, whose names a forward may bind anew."""

    def __init__(self) -> None:
        files = ((m, getattr(m, "__file__", None)) for m in list(sys.modules.values()))
        own = [m for m, file in files if file and Path(file).is_absolute()]
        self._before = [(m, _values(m)) for m in own if not _is_installed(m)]

    def restored(self) -> bool:
        """Undo what was bound since; return whether there was anything."""
        found = False
        for module, before in self._before:
            now = _values(module)
            for name in before.keys() | now.keys():
                if name not in now or name not in before or now[name] is not before[name]:
                    found = True
                    vars(module).pop(name, None)
                    vars(module).update({name: before[name]} if name in before else {})
        return found


def _values(module: ModuleType) -> dict[str, Any]:
    """Return a module's globals, but for modules: an import binds these."""
    names = {n: v for n, v in vars(module).items() if not isinstance(v, ModuleType)}
    return {name: value for name, value in names.items() if not name.startswith("__")}


def is_guarded(value: Any) -> bool:
    """Return whether the compiler notices when a value changes that `use` has used."""
    if isinstance(value, dict):
        return all(isinstance(key, str) for key in value) and all(map(is_guarded, value.values()))
    if type(value) in (list, tuple):
        return all(map(is_guarded, value))
    return isinstance(value, (*_NUMBERS, Source, ScheduledRate, Enum, *_CODE))


def use(value: Any) -> None:
    """Use a value where the compiler sees it, so that it compiles again when the value changes."""
    if isinstance(value, dict):
        for key in value:
            use(value[key])
    elif isinstance(value, (list, tuple)):
        for part in value:
            use(part)
    elif isinstance(value, (bool, int, str, Source, ScheduledRate)):
        str(value)  # The compiler does not guard what is read but not used.
    elif not isinstance(value, float):
        _ = value is None
    elif value - value == 0:
        value.as_integer_ratio()  # Otherwise a number that changed once would become a variable.
