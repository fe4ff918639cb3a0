"""Guards: the values that a captured graph depends on, and whether they changed."""

from __future__ import annotations

import enum
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from types import (
    BuiltinFunctionType,
    CellType,
    CodeType,
    FunctionType,
    MethodType,
    ModuleType,
)
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mapdrop.backends.torch._internals import OPERATORS
from mapdrop.torch.compact.capture.hooks import hooked


class _Missing(enum.Enum):
    MISSING = enum.auto()


MISSING: Any = _Missing.MISSING
"""The value of an entry that a mapping does not have."""

_VALUES = (
    int,
    float,
    complex,
    bool,
    str,
    bytes,
    type(None),
    type(Ellipsis),
    slice,
    range,
    torch.dtype,
    torch.device,
    torch.layout,
    torch.memory_format,
    CodeType,
)
_CODE = (
    FunctionType,
    BuiltinFunctionType,
    MethodType,
    ModuleType,
    type,
    property,
    staticmethod,
    classmethod,
    *OPERATORS,
)
CONTAINERS = (list, dict, OrderedDict, set)


def is_value(value: Any) -> bool:
    """Return whether a value is a constant: it cannot change, and `==` compares it."""
    if type(value) in (tuple, frozenset, torch.Size):
        return all(map(is_value, value))
    return type(value) in _VALUES or isinstance(value, (np.generic, enum.Enum))


def unchanged(value: Any, expected: Any) -> bool:
    """Return whether a value read again is the same object, or an equal constant."""
    if value is expected:
        return True
    return type(value) is type(expected) and is_value(expected) and bool(value == expected)


class Guards:
    """Values to compare before a graph is used again."""

    def __init__(self) -> None:
        self._entries: list[tuple[Mapping[Any, Any], Any, Any]] = []
        self._containers: list[tuple[Any, tuple[Any, ...]]] = []
        self._tensors: list[tuple[Mapping[str, Tensor | None], dict[str, Any]]] = []
        self._hooks: list[tuple[Any, bool]] = []
        self._functions: list[tuple[FunctionType, tuple[Any, ...]]] = []

    def entry(self, mapping: Mapping[Any, Any], key: Any) -> None:
        """Expect a mapping's entry to keep its value, or to stay missing."""
        self._entries.append((mapping, key, mapping.get(key, MISSING)))

    def container(self, container: Any) -> None:
        """Expect a list, dict or set to keep its contents and their order."""
        self._containers.append((container, _content(container)))

    def tensors(self, mapping: Mapping[str, Tensor | None]) -> None:
        """Expect a module's parameters or buffers to keep their names, shapes and types."""
        self._tensors.append((mapping, {name: _kind(t) for name, t in mapping.items()}))

    def hooks(self, module: Any) -> None:
        """Expect a module to stay hooked, or not hooked."""
        self._hooks.append((module, hooked(module)))

    def function(self, function: FunctionType) -> None:
        """Expect a function to keep its code, defaults and closure."""
        self._functions.append((function, held(function)))

    def beyond(self, modules: Iterable[Any], followed: Callable[[Any], bool]) -> str:
        """Return the name of an entry that is neither code nor a followed attribute; "" if none."""
        own = {id(module.__dict__) for module in modules}
        for mapping, key, value in self._entries:
            attribute = id(mapping) in own and followed(value)
            if not (attribute or isinstance(value, _CODE) or value is MISSING):
                return str(key)
        for function, _ in self._functions:
            if not all(isinstance(c.cell_contents, _CODE) for c in function.__closure__ or ()):
                return function.__qualname__
        return ""

    def hold(self) -> bool:
        """Return whether nothing changed."""
        for mapping, key, expected in self._entries:
            value = mapping.get(key, MISSING)
            if value is not expected and not unchanged(value, expected):
                return False
        for container, content in self._containers:
            now = _content(container)
            if len(now) != len(content) or not all(map(unchanged, now, content)):
                return False
        for tensors, kinds in self._tensors:
            if len(tensors) != len(kinds) or any(
                name not in kinds or _kind(t) != kinds[name] for name, t in tensors.items()
            ):
                return False
        for function, parts in self._functions:
            now = held(function)
            if len(now) != len(parts) or not all(map(unchanged, now, parts)):
                return False
        return all(hooked(module) == watched for module, watched in self._hooks)


def held(function: FunctionType) -> tuple[Any, ...]:
    """Return what a function holds: code, defaults, closure."""
    cells = [c.cell_contents for c in function.__closure__ or () if c != CellType()]
    options = (function.__kwdefaults__ or {}).values()
    return (function.__code__, *(function.__defaults__ or ()), *options, *cells)


def _content(container: Any) -> tuple[Any, ...]:
    if isinstance(container, Mapping):
        return (*container.keys(), *container.values())
    return tuple(container)


def _kind(tensor: Tensor | None) -> Any:
    if tensor is None:
        return None
    return tensor.shape, tensor.dtype, tensor.device, tensor.requires_grad
