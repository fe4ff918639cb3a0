"""Write tables as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable


def csv_text(rows: Iterable[Iterable[object]]) -> bytes:
    """Return rows as CSV: floating-point numbers with four decimals, NaN as an empty cell."""
    file = io.StringIO(newline="")
    csv.writer(file, lineterminator="\n").writerows(map(_cell, row) for row in rows)
    # A file's name need not be valid text: bytes that aren't UTF-8 are escaped, as \\udce9.
    return file.getvalue().encode(errors="backslashreplace")


def _cell(value: object) -> object:
    if isinstance(value, float):  # As NumPy's float64 is.
        return "" if math.isnan(value) else f"{value:.4f}"
    return value
