"""Read CSV files; errors name the line."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import NamedTuple

from mapdrop.localize.data.base import DataError
from mapdrop.system.files import opened


class CsvRow(NamedTuple):
    """One row of a CSV file.

    Attributes:
        where: its position, "file:line".
        cells: its cells, without spaces around them.
    """

    where: str
    cells: list[str]


def read_rows(table: Path) -> Iterator[CsvRow]:
    """Yield each row that isn't blank.

    Raises:
        DataError: when the file isn't CSV in UTF-8.
    """
    try:
        with opened(table) as binary, TextIOWrapper(binary, "utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            for cells in reader:
                if cells:
                    yield CsvRow(f"{table}:{reader.line_num}", [cell.strip() for cell in cells])
    except UnicodeDecodeError as error:
        raise DataError(f"{table} can't be read as CSV: {error}; save it as UTF-8") from error
    except (csv.Error, OSError) as error:
        raise DataError(f"{table} can't be read as CSV: {error}; export it again") from error


def parse_point(where: str, x: str, y: str) -> tuple[float, float]:
    """Parse two cells as (x, y); NaN when both are empty.

    Raises:
        DataError: when one of them is empty, or a cell isn't a number.
    """
    if _is_empty(x) != _is_empty(y):
        raise DataError(f"{where}: one of x={x!r}, y={y!r} is missing; fill both or empty both")
    return _parse_number(where, x), _parse_number(where, y)


def _parse_number(where: str, cell: str) -> float:
    if _is_empty(cell):
        return math.nan
    try:
        number = float(cell)
    except ValueError:
        number = math.inf
    if not math.isfinite(number):
        raise DataError(f"{where}: {cell!r} is not a number; correct it, or empty both cells")
    return number


def _is_empty(cell: str) -> bool:
    return cell.lower() in ("", "nan")
