"""Check the rows of a study that are read from a file: each field's type and range."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from mapdrop.localize.kinds import kind
from mapdrop.system.printable import printable

Check = Callable[[Any, str], None]
"""Raises ValueError where a value is not what a field of that name holds."""

_MOST = 2**53  # Whole numbers that JSON's other readers read, too.


def check_row(row: Any) -> None:
    """Check one row by itself. Raises ValueError with the field, what came and what was expected.

    >>> check_row({"kind": "costs", "costs": {"flops": -1}})
    Traceback (most recent call last):
    ValueError: costs.flops is -1, expected a number from 0 on
    """
    _record({"kind": _one_of(_ROWS)})(row, "")
    _record(_ROWS[row["kind"]])(row, "")


def check_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """Check that rows, each of which is one, belong together. Raises ValueError for one that does
    not, with the number of its line."""
    first = rows[0]
    if first["kind"] != "study":
        raise ValueError(f"line 1 is of kind {first['kind']!r}, expected 'study'")
    timed = set()
    for number, row in enumerate(rows[1:], start=2):
        try:
            if row["kind"] == "study":
                raise ValueError("a second study begins")
            if row["kind"] == "timing":
                timed.add(_dropout(row))
            if row["kind"] == "run":
                if _dropout(row) not in timed:
                    raise ValueError(f"no step times of {row['drop']} {row['rate']:g} came before")
                _check_run(row, first["data"])
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None


def _dropout(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row["drop"], row["rate"], row["block_size"]


def _check_run(row: Mapping[str, Any], data: Mapping[str, Any]) -> None:
    """Check that a run has the sizes of its study."""
    for part in ("train", "test"):
        for table in ("metrics", "curve"):
            if part not in row[table]:
                raise ValueError(f"{table}.{part} is missing")
    for part, figures in row["metrics"].items():
        for radius in data["radii"]:
            if f"{radius:g}" not in figures["pck"]:
                raise ValueError(f"metrics.{part}.pck.{radius:g} is missing")
    errors, size = row["errors"]["test"], (data["test"], len(data["joints"]))
    if len(errors) != size[0] or any(len(image) != size[1] for image in errors):
        raise ValueError(f"errors.test is not of {size[0]} images with {size[1]} joints each")
    if all(far is None for image in errors for far in image):
        raise ValueError("errors.test has no number")


def _number(low: float = 0.0, high: float = math.inf) -> Check:
    def check(value: Any, name: str) -> None:
        fits = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not (fits and low <= value <= high and abs(value) <= _MOST):
            to = f"from {low:g} on" if high == math.inf else f"from {low:g} to {high:g}"
            raise _wrong(name, value, f"a number {to}")

    return check


def _whole(low: int = 0) -> Check:
    def check(value: Any, name: str) -> None:
        if type(value) is not int or not low <= value <= _MOST:
            raise _wrong(name, value, f"a whole number from {low} on")

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
        raise _wrong(name, value, "two radii, rising from 0")


def _curve(value: Any, name: str) -> None:
    _record({"radii": _list(_number()), "pck": _list(_number(0, 1))})(value, name)
    if len(value["radii"]) != len(value["pck"]):
        raise ValueError(f"{name}.radii and {name}.pck are not of one length")


def _maybe(check: Check) -> Check:
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
    """Check these fields; others may be there."""

    def check(value: Any, name: str) -> None:
        if not isinstance(value, dict):
            raise _wrong(name or "it", value, "an object")
        for key, each in fields.items():
            place = f"{name}.{key}" if name else key
            if key not in value:
                raise ValueError(f"{place} is missing")
            each(value[key], place)

    return check


def _wrong(name: str, value: Any, expected: str) -> ValueError:
    text = printable(repr(value))
    return ValueError(f"{name} is {text[:40]}{'...' * (len(text) > 40)}, expected {expected}")


_CONDITION = {"drop": _drop, "rate": _number(0, 1), "block_size": _whole(1)}
_CELL = {**_CONDITION, "train_size": _whole(1), "seed": _whole()}
_MEASURED = _record({"pck": _mapping(_number(0, 1)), "mean_error": _number()})
_WRITTEN = {"written": _text}
_ROWS: dict[str, dict[str, Check]] = {
    "study": {
        "data": _record(
            {
                "name": _text,
                "joints": _list(_text),
                "train": _whole(1),
                "validation": _whole(),
                "test": _whole(1),
                "working_size": _list(_whole(1), least=2, most=2),
                "radii": _radii,
                "unit": _text,
                "limits": _text,
            }
        ),
        "settings": _record({"width": _whole(1), "recipe": _record({"steps": _whole(1)})}),
        "guess": _MEASURED,
        "machine": _record({"threads": _whole(1)}),
        "versions": _mapping(_text),
        **_WRITTEN,
    },
    "costs": {"costs": _mapping(_number()), **_WRITTEN},
    "timing": {
        **_CONDITION,
        "ratio": _number(),
        "peak_mb": _number(),
        "rounds": _whole(1),
        **_WRITTEN,
    },
    "run": {
        **_CELL,
        "metrics": _mapping(_MEASURED),
        "curve": _mapping(_curve),
        "errors": _record({"test": _list(_list(_maybe(_number())))}),
        **_WRITTEN,
    },
    "failed": {**_CELL, "error": _text, **_WRITTEN},
}
