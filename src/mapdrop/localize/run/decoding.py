"""Read JSON into dataclasses, with the type of every value checked.

What a stranger's file holds may be anything that JSON can say. The dataclasses check ranges.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def decoded(kind: type[T], values: Any, where: str = "") -> T:
    """Return a dataclass from what `dataclasses.asdict` made of one, and JSON of that.

    Args:
        kind: a dataclass whose fields are numbers, text, truths, tuples, lists or dicts of them,
            dataclasses, or None.
        values: an object's values by name. A field with a default may be missing.
        where: what the object is called in messages.

    Raises:
        ValueError: for a value of another type, a number that is not finite, a name that is missing
            or unknown, and whatever the dataclass itself refuses.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{where or 'it'} should be an object, not {values!r:.60}")
    hints = get_type_hints(kind)
    names = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
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
    if is_dataclass(hint):
        return decoded(hint, value, where)  # type: ignore[arg-type]
    origin, of = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        (other,) = (part for part in of if part is not NoneType)
        return None if value is None else _value(other, value, where)
    if origin in (tuple, list):
        return _items(hint, value, where)
    if origin is dict and isinstance(value, Mapping):
        return {key: _value(of[1], item, f"{where}.{key:.60}") for key, item in value.items()}
    if hint is Any:
        return value
    if hint is float and type(value) is int:
        value = _float(value)
    if type(value) is not hint or (hint is float and not math.isfinite(value)):
        raise ValueError(f"{where} should be {_NAMES.get(hint, hint)}, not {value!r:.60}")
    return value


def _items(hint: Any, value: Any, where: str) -> Any:
    origin, of = get_origin(hint), get_args(hint)
    if not isinstance(value, list | tuple):
        raise ValueError(f"{where} should be a list, not {value!r:.60}")
    any_number = origin is list or of[-1] is Ellipsis
    if not any_number and len(value) != len(of):
        raise ValueError(f"{where} should be {len(of)} values, not {len(value)}")
    hints = [of[0]] * len(value) if any_number else of
    return origin(
        _value(one, item, f"{where}[{number}]")
        for number, (one, item) in enumerate(zip(hints, value, strict=True))
    )


def _float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


_NAMES = {int: "a whole number", float: "a finite number", str: "text", bool: "true or false"}
