"""Calls in a model's code that drop by a function: nn.functional.dropout and its like.

The code is read, not run. From a module's forward on, a name is looked up where the function would
look it up: in its globals, or on the module's class if it is `self.something`. Functions and
methods of the model's package that are found so are read in turn. What is not seen: a function that
is chosen at run time (from a dict of attention functions, say), one of another package, one that is
reached through `super()` or a local variable, and dropout that is written as a product with random
numbers. Whether the rate is 0 is seen only where it stands in the code.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from torch import nn
from torch.nn import functional

from mapdrop.torch.drop_layers import is_drop_name

_ATTENTION = functional.scaled_dot_product_attention


def functional_drops(kind: type[nn.Module]) -> list[str]:
    """Return calls in the code of a module's forward that drop by a function: what and where."""
    package = _package(kind)
    if package == "torch":
        return []
    found: dict[str, None] = {}
    ahead = [_function(kind.forward)]
    seen: set[FunctionType] = set()
    while ahead:
        function = ahead.pop()
        if function is None or function in seen or _package(function) != package:
            continue
        seen.add(function)
        for node, met in _lookups(function, kind):
            if not _drops(met):
                ahead.append(_function(met))
            elif isinstance(node, ast.Call) and _active(node, met):
                line = function.__code__.co_firstlineno + node.lineno - 1
                place = f"{Path(function.__code__.co_filename).name}, line {line}"
                found[f"{met.__name__} in {function.__qualname__} ({place})"] = None
    return list(found)


def _package(value: type | FunctionType) -> str:
    return value.__module__.partition(".")[0]


def _function(value: Any) -> FunctionType | None:
    """Return the function of a method, or what a decorator wraps; None if it has no code."""
    value = inspect.unwrap(value) if callable(value) else value
    value = getattr(value, "__func__", value)  # Of a class method.
    return value if isinstance(value, FunctionType) else None


def _lookups(function: FunctionType, kind: type) -> Iterator[tuple[ast.AST, Any]]:
    """Yield each call, and each name, of a function with what it stands for."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):  # Code without a source file.
        return
    code = function.__code__
    own = dict.fromkeys(code.co_varnames)
    if code.co_varnames[:1] == ("self",):
        own["self"] = kind
    scope = {**function.__globals__, **own}
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node, _value(node.func, scope)
        elif isinstance(node, (ast.Name, ast.Attribute)) and id(node) not in called:
            yield node, _value(node, scope)


def _value(node: ast.AST, scope: dict[str, Any]) -> Any:
    """Return what a dotted name stands for; None if that is not known before the code runs."""
    if isinstance(node, ast.Name):
        return scope.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = _value(node.value, scope)
        if isinstance(owner, (type, ModuleType)):
            with suppress(
                Exception
            ):  # A module that loads its parts when asked may raise anything.
                return getattr(owner, node.attr, None)
    return None


def _drops(met: Any) -> bool:
    if met is _ATTENTION:
        return True
    name = str(getattr(met, "__name__", ""))
    return callable(met) and not isinstance(met, type) and is_drop_name(name)


def _active(call: ast.Call, met: Any) -> bool:
    """Return whether the call may drop: its rate is not 0 in the code, nor its training False."""
    given = {k.arg: k.value for k in call.keywords}
    constants = {k: v.value for k, v in given.items() if isinstance(v, ast.Constant)}
    if met is _ATTENTION:
        passed = len(call.args) > 4 or None in given or "dropout_p" in given
        return passed and constants.get("dropout_p") != 0
    return constants.get("p") != 0 and constants.get("training") is not False
