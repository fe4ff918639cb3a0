"""CSV files, with the line of everything that is wrong in them."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path

from mapdrop.localize.data.base import DataError
from mapdrop.system.files import opened

Row = tuple[str, list[str]]
"""Where it stands ("file:line"), and its cells."""


def rows(table: Path) -> Iterator[Row]:
    """Every row that isn't blank.

    Raises:
        DataError: when it isn't CSV in UTF-8.
    """
    try:
        with opened(table) as binary, TextIOWrapper(binary, "utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            for cells in reader:
                if cells:
                    yield f"{table}:{reader.line_num}", [cell.strip() for cell in cells]
    except UnicodeDecodeError as error:
        raise DataError(f"{table} can't be read as CSV: {error}; save it as UTF-8") from error
    except (csv.Error, OSError) as error:
        raise DataError(f"{table} can't be read as CSV: {error}; export it again") from error


def point(place: str, x: str, y: str) -> tuple[float, float]:
    """(x, y) from two cells; NaN where both are empty.

    Raises:
        DataError: for half a point, and for anything that isn't a number.
    """
    if _is_empty(x) != _is_empty(y):
        raise DataError(f"{place}: one of x={x!r}, y={y!r} is missing; fill both or empty both")
    return _number(place, x), _number(place, y)


def _number(place: str, cell: str) -> float:
    if _is_empty(cell):
        return math.nan
    try:
        number = float(cell)
    except ValueError:
        number = math.inf
    if not math.isfinite(number):
        raise DataError(f"{place}: {cell!r} is not a number; correct it, or empty both cells")
    return number


def _is_empty(cell: str) -> bool:
    return cell.lower() in ("", "nan")
