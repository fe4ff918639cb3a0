"""Decode JSON into dataclasses, and check the type of each value.

A file may hold any JSON. The dataclasses themselves check ranges.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, TypeVar, Union, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")


def decode(kind: type[T], values: Any, where: str = "") -> T:
    """Return a dataclass from the decoded JSON of its `dataclasses.asdict`.

    Args:
        kind: a dataclass whose fields are numbers, text, booleans, None, dataclasses, or tuples,
            lists and dicts of these.
        values: the fields' values by name. A field with a default may be missing.
        where: the object's name in messages.

    Raises:
        ValueError: for a value of the wrong type, a number that isn't finite, a missing or unknown
            name, and any value that the dataclass rejects.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{where or 'it'} should be an object, not {values!r:.60}")
    hints = get_type_hints(kind)
    names = {field.name: field for field in fields(kind)}
    unknown = ", ".join(repr(name)[:60] for name in values if name not in names)
    if unknown:
        raise ValueError(f"{where or 'it'} has the unknown {unknown}")
    found = {}
    for name, field in names.items():
        if name in values:
            found[name] = _value(hints[name], values[name], f"{where}.{name}".lstrip("."))
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"{where or 'it'} has no {name!r}")
    return kind(**found)


def _value(hint: Any, value: Any, where: str) -> Any:
    if isinstance(hint, type) and is_dataclass(hint):
        return decode(hint, value, where)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        (other,) = (part for part in arguments if part is not NoneType)
        return None if value is None else _value(other, value, where)
    if origin in (tuple, list):
        return _items(hint, value, where)
    if origin is dict and isinstance(value, Mapping):
        return {
            key: _value(arguments[1], item, f"{where}.{key:.60}") for key, item in value.items()
        }
    if hint is Any:
        return value
    if hint is float and type(value) is int:
        value = _float(value)
    if type(value) is not hint or (hint is float and not math.isfinite(value)):
        raise ValueError(f"{where} should be {_NAMES.get(hint, hint)}, not {value!r:.60}")
    return value


def _items(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if not isinstance(value, list | tuple):
        raise ValueError(f"{where} should be a list, not {value!r:.60}")
    any_length = origin is list or arguments[-1] is Ellipsis
    if not any_length and len(value) != len(arguments):
        raise ValueError(f"{where} should be {len(arguments)} values, not {len(value)}")
    hints = [arguments[0]] * len(value) if any_length else arguments
    return origin(
        _value(one, item, f"{where}[{number}]")
        for number, (one, item) in enumerate(zip(hints, value, strict=True))
    )


def _float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


_NAMES = {int: "an integer", float: "a finite number", str: "text", bool: "true or false"}
