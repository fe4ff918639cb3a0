"""Check the rows of a study that are read from a file: each field's type and range."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from mapdrop.localize.drop_option import kind
from mapdrop.system.printable import printable

Check = Callable[[Any, str], None]
"""Raises ValueError if a value is invalid for a field of the given name."""

_LARGEST = 2**53  # Larger integers are not exact in other readers of JSON.


def check_row(row: Any) -> None:
    """Check one row. Raise ValueError with the field, its value and what was expected.

    >>> check_row({"kind": "costs", "costs": {"flops": -1}})
    Traceback (most recent call last):
    ValueError: costs.flops is -1, expected a number from 0 on
    """
    _record({"kind": _one_of(_ROWS)})(row, "")
    _record(_ROWS[row["kind"]])(row, "")


def check_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """Check that valid rows belong together. Raise ValueError with the line of one that doesn't."""
    first = rows[0]
    if first["kind"] != "study":
        raise ValueError(f"line 1 is of kind {first['kind']!r}, expected 'study'")
    timed = set()
    for number, row in enumerate(rows[1:], start=2):
        try:
            if row["kind"] == "study":
                raise ValueError("a second study begins")
            if row["kind"] == "timing":
                timed.add(_condition(row))
            if row["kind"] == "run":
                if _condition(row) not in timed:
                    raise ValueError(f"no timing of {row['drop']} {row['rate']:g} precedes it")
                _check_run(row, first["data"])
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None


def _condition(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in _CONDITION)


def _check_run(row: Mapping[str, Any], data: Mapping[str, Any]) -> None:
    """Check that a run has the parts, radii and sizes of its study."""
    for part in ("train", "test"):
        for table in ("metrics", "curve"):
            if part not in row[table]:
                raise ValueError(f"{table}.{part} is missing")
    for part, summary in row["metrics"].items():
        for radius in data["radii"]:
            if f"{radius:g}" not in summary["pck"]:
                raise ValueError(f"metrics.{part}.pck.{radius:g} is missing")
    errors, size = row["errors"]["test"], (data["test"], len(data["joints"]))
    if len(errors) != size[0] or any(len(image) != size[1] for image in errors):
        raise ValueError(f"errors.test should have {size[0]} images with {size[1]} joints each")
    if all(error is None for image in errors for error in image):
        raise ValueError("errors.test has no number")


def _number(low: float = 0.0, high: float = math.inf) -> Check:
    def check(value: Any, name: str) -> None:
        fits = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not (fits and low <= value <= high and abs(value) <= _LARGEST):
            to = f"from {low:g} on" if high == math.inf else f"from {low:g} to {high:g}"
            raise _wrong(name, value, f"a number {to}")

    return check


def _integer(low: int = 0) -> Check:
    def check(value: Any, name: str) -> None:
        if type(value) is not int or not low <= value <= _LARGEST:
            raise _wrong(name, value, f"an integer from {low} on")

    return check


def _text(value: Any, name: str) -> None:
    if not isinstance(value, str):
        raise _wrong(name, value, "text")


def _one_of(names: Mapping[str, Any]) -> Check:
    def check(value: Any, name: str) -> None:
        if not isinstance(value, str) or value not in names:
            raise _wrong(name, value, f"one of {', '.join(names)}")

    return check


def _drop(value: Any, name: str) -> None:
    _text(value, name)
    try:
        kind(value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _radii(value: Any, name: str) -> None:
    _list(_number(), least=2, most=2)(value, name)
    if not all(0 < small < large for small, large in pairwise(value)):
        raise _wrong(name, value, "two ascending radii above 0")


def _curve(value: Any, name: str) -> None:
    _record({"radii": _list(_number()), "pck": _list(_number(0, 1))})(value, name)
    if len(value["radii"]) != len(value["pck"]):
        raise ValueError(f"{name}.radii and {name}.pck differ in length")


def _optional(check: Check) -> Check:
    return lambda value, name: None if value is None else check(value, name)


def _list(each: Check, least: int = 1, most: float = math.inf) -> Check:
    def check(value: Any, name: str) -> None:
        if not isinstance(value, list) or not least <= len(value) <= most:
            size = f"{least}" if most == least else f"at least {least}"
            raise _wrong(name, value, f"a list of {size}")
        for number, item in enumerate(value):
            each(item, f"{name}[{number}]")

    return check


def _mapping(each: Check) -> Check:
    def check(value: Any, name: str) -> None:
        if not isinstance(value, dict):
            raise _wrong(name, value, "an object")
        for key, item in value.items():
            each(item, f"{name}.{printable(key)}")

    return check


def _record(fields: Mapping[str, Check]) -> Check:
    """Check these fields; a record may have others."""

    def check(value: Any, name: str) -> None:
        if not isinstance(value, dict):
            raise _wrong(name or "it", value, "an object")
        for key, each in fields.items():
            path = f"{name}.{key}" if name else key
            if key not in value:
                raise ValueError(f"{path} is missing")
            each(value[key], path)

    return check


def _wrong(name: str, value: Any, expected: str) -> ValueError:
    text = printable(repr(value))
    return ValueError(f"{name} is {text[:40]}{'...' * (len(text) > 40)}, expected {expected}")


_CONDITION = {"drop": _drop, "rate": _number(0, 1), "block_size": _integer(1)}
_CELL = {**_CONDITION, "train_size": _integer(1), "seed": _integer()}
_SUMMARY = _record({"pck": _mapping(_number(0, 1)), "mean_error": _number()})
_WRITTEN = {"written": _text}
_ROWS: dict[str, dict[str, Check]] = {
    "study": {
        "data": _record(
            {
                "name": _text,
                "joints": _list(_text),
                "train": _integer(1),
                "validation": _integer(),
                "test": _integer(1),
                "working_size": _list(_integer(1), least=2, most=2),
                "radii": _radii,
                "unit": _text,
                "limits": _text,
            }
        ),
        "settings": _record({"width": _integer(1), "recipe": _record({"steps": _integer(1)})}),
        "guess": _SUMMARY,
        "machine": _record({"threads": _integer(1)}),
        "versions": _mapping(_text),
        **_WRITTEN,
    },
    "costs": {"costs": _mapping(_number()), **_WRITTEN},
    "timing": {
        **_CONDITION,
        "ratio": _number(),
        "peak_mb": _number(),
        "rounds": _integer(1),
        **_WRITTEN,
    },
    "run": {
        **_CELL,
        "metrics": _mapping(_SUMMARY),
        "curve": _mapping(_curve),
        "errors": _record({"test": _list(_list(_optional(_number())))}),
        **_WRITTEN,
    },
    "failed": {**_CELL, "error": _text, **_WRITTEN},
}
