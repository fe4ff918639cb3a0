"""Read CSV files as spreadsheets save them; errors name the line.

The separator is a comma, a semicolon or a tab: the first of them in the first row, or what Excel's
line `sep=;` says. Text is UTF-8, UTF-16 with its mark, or Windows-1252.
"""

from __future__ import annotations

import codecs
import csv
import math
import re
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import NamedTuple

from mapdrop.localize.data.base import DataError
from mapdrop.system.files import opened

MISSING = frozenset(
    ("", "-", "na", "n/a", "#na", "#n/a", "<na>", "nan", "null", "none", "#nv", "#n/d")
)
"""What stands for no number, in lower case; #NV and #N/D are #N/A in other languages' Excel."""

_SEPARATOR = re.compile(r'(?:"[^"]*"|[^",;\t\r\n])*([,;\t])')
_PREAMBLE = re.compile(r'"?sep=([,;\t])"?\s*(?:\r\n?|\n|$)', re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", re.IGNORECASE)
"""Python's `float` also takes 1_0, digits of other scripts, and words such as infinity."""


class CsvRow(NamedTuple):
    """One row of a CSV file.

    Attributes:
        where: its position, "file:line".
        cells: its cells, without spaces around them.
    """

    where: str
    cells: list[str]


class CsvRows(Iterator[CsvRow]):
    """The rows of a CSV file in which any cell has text.

    Attributes:
        decimal_comma: whether a number may have a decimal comma, because cells end at another sign.
    """

    def __init__(self, table: Path, text: str) -> None:
        preamble = _PREAMBLE.match(text)
        separator = preamble or _SEPARATOR.match(text.lstrip())
        sign = separator[1] if separator else ","
        self.decimal_comma: bool = sign != ","
        self._rows = _rows(table, text, sign, skipped=1 if preamble else 0)

    def __next__(self) -> CsvRow:
        return next(self._rows)


def read_rows(table: Path, most: int = -1) -> CsvRows:
    """Return the rows of a CSV file.

    Args:
        table: the file.
        most: bytes of it to read; -1 means all.

    Raises:
        DataError: when the file can't be read as text. The iterator raises it when it isn't CSV.
    """
    try:
        with opened(table) as file:
            data = file.read(most)
    except OSError as error:
        raise DataError(f"{table} can't be read as CSV: {error}; export it again") from error
    try:
        return CsvRows(table, _decode(data, final=most < 0))
    except UnicodeDecodeError as error:
        raise DataError(f"{table} can't be read as CSV: {error}; save it as UTF-8") from error


def _decode(data: bytes, final: bool) -> str:
    """Return the text of a file, or of its beginning."""
    encoding = "utf-8-sig"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif not data.isascii() and data.decode(errors="ignore").isascii():
        encoding = "cp1252"  # Not one of its special characters is UTF-8.
    return codecs.getincrementaldecoder(encoding)().decode(data, final)


def _rows(table: Path, text: str, separator: str, skipped: int) -> Iterator[CsvRow]:
    reader = csv.reader(StringIO(text, newline=""), delimiter=separator)
    try:
        for number, cells in enumerate(reader):
            stripped = [cell.strip() for cell in cells]
            if number >= skipped and any(stripped):
                yield CsvRow(f"{table}:{reader.line_num}", stripped)
    except csv.Error as error:
        raise DataError(f"{table} can't be read as CSV: {error}; export it again") from error


def parse_point(where: str, x: str, y: str, decimal_comma: bool = False) -> tuple[float, float]:
    """Parse two cells as (x, y); NaN when both are missing.

    Args:
        where: the row, for messages.
        x: a cell.
        y: a cell.
        decimal_comma: see `CsvRows`.

    Raises:
        DataError: when one of them is missing, or a cell isn't a plain decimal number.
    """
    absent = [cell.lower() in MISSING for cell in (x, y)]
    if absent[0] != absent[1]:
        raise DataError(f"{where}: one of x={x!r}, y={y!r} is missing; fill both or empty both")
    if absent[0]:
        return math.nan, math.nan
    return _parse_number(where, x, decimal_comma), _parse_number(where, y, decimal_comma)


def _parse_number(where: str, cell: str, decimal_comma: bool) -> float:
    plain = cell.replace(",", ".") if decimal_comma else cell
    number = float(plain) if _NUMBER.fullmatch(plain) else math.inf
    if not math.isfinite(number):
        hint = "write it with a decimal point" if "," in cell else "correct it"
        raise DataError(
            f"{where}: {cell!r} is not a number such as 12.5; {hint}, or empty both cells"
        )
    return number
