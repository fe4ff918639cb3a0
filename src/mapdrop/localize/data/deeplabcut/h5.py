"""Read the rows of a DeepLabCut label file in HDF5, as `csv_rows` reads those of the CSV.

pandas writes it, in one of two layouts, and would read it with the help of pickle, which executes
what a file says. Here it is read as arrays. "fixed" has two axes and blocks of columns:

    df_with_missing/axis0_level0 ..., axis0_label0 ...   columns: scorer, bodypart, coordinate
    df_with_missing/axis1_level0 ..., axis1_label0 ...   rows: labeled-data, video, file
    df_with_missing/block0_items_level0 ..., block0_values

"table", from older versions, has an array of records, and pickled lists of the columns' names.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mapdrop.localize.data.base import DataError
from mapdrop.localize.data.csv_rows import CsvRow
from mapdrop.localize.data.hdf5 import opened_hdf5, read_hdf5, unpickled

if TYPE_CHECKING:
    import h5py

Names = list[tuple[str, ...]]
"""The names of columns or rows, each of one or several parts."""

LEVELS: dict[int, tuple[str, ...]] = {
    3: ("scorer", "bodyparts", "coords"),
    4: ("scorer", "individuals", "bodyparts", "coords"),
}
USUAL = "df_with_missing"
"""DeepLabCut's name for the table."""


def read_rows(path: Path) -> Iterator[CsvRow]:
    """Yield the header's rows, then a row for each image.

    Raises:
        DataError: when the file isn't a table that pandas wrote, or holds pickled objects.
    """
    columns, rows, values = read_hdf5(read_frame, "h5py", path)
    levels = LEVELS.get(len(columns[0]) if columns else 0)
    if levels is None or values.shape != (len(rows), len(columns)):
        raise DataError(f"{path} is not a table of labels; label frames in DeepLabCut again")
    before = [""] * (len(rows[0]) - 1 if rows else 0)
    for level, title in enumerate(levels):
        yield CsvRow(str(path), [title, *before, *(column[level] for column in columns)])
    for number, (name, row) in enumerate(zip(rows, values.tolist(), strict=True), start=1):
        cells = ("" if np.isnan(value) else repr(value) for value in row)
        yield CsvRow(f"{path}: row {number}", [*name, *cells])


def read_frame(path: Path) -> tuple[Names, Names, npt.NDArray[np.float64]]:
    """Return the names of columns and rows, and the values (rows, columns).

    Raises:
        ValueError: when the file isn't a table that pandas wrote, or holds pickled objects.
    """
    with opened_hdf5(path) as file:
        kinds = {name: _text(group.attrs.get("pandas_type", b"")) for name, group in file.items()}
        tables = [name for name, kind in kinds.items() if kind in ("frame", "frame_table")]
        if USUAL in tables:
            tables = [USUAL]
        if len(tables) != 1:
            found = ", ".join(tables) or "none"
            raise ValueError(f"it should hold one table, {USUAL}, not {found}")
        group = file[tables[0]]
        return _fixed(group) if kinds[tables[0]] == "frame" else _records(group)


def _fixed(group: h5py.Group) -> tuple[Names, Names, npt.NDArray[np.float64]]:
    columns, rows = _axis(group, "axis0"), _axis(group, "axis1")
    values = np.full((len(rows), len(columns)), np.nan)
    for number in range(int(group.attrs["nblocks"])):
        items = [columns.index(name) for name in _axis(group, f"block{number}_items")]
        if rows and items:
            values[:, items] = group[f"block{number}_values"][()]
    return columns, rows, values


def _axis(group: h5py.Group, name: str) -> Names:
    if f"{name}_nlevels" not in group.attrs:
        return [(text,) for text in _names(group[name])]
    levels = range(int(group.attrs[f"{name}_nlevels"]))
    parts = []
    for level in levels:
        texts = _names(group[f"{name}_level{level}"])
        codes = _array(group[f"{name}_label{level}"]).tolist()
        parts.append([texts[code] if code >= 0 else "" for code in codes])
    return list(zip(*parts, strict=True))


def _names(array: h5py.Dataset) -> list[str]:
    kind = _text(array.attrs.get("kind", b""))
    if kind not in ("string", "integer", "float", "bool"):
        raise ValueError(f"the names in {array.name} are pickled ({kind}), which is not safe")
    return [_text(value) for value in _array(array).tolist()]


def _array(array: h5py.Dataset) -> npt.NDArray[np.generic]:
    """Return the values. Of an empty array pandas notes the shape, and writes another."""
    found = np.asarray(array[()])
    return found[:0] if "shape" in array.attrs else found


def _records(group: h5py.Group) -> tuple[Names, Names, npt.NDArray[np.float64]]:
    table, ((_, axis),) = group["table"], unpickled(group.attrs["non_index_axes"])
    records, columns = table[()], _labels(axis)
    rows: Names = [(_text(name),) for name in records["index"].tolist()]
    values = np.full((len(rows), len(columns)), np.nan)
    for field in records.dtype.names:
        if field != "index":
            block = _labels(unpickled(table.attrs[f"{field}_kind"]))
            values[:, [columns.index(name) for name in block]] = records[field]
    return columns, rows, values


def _labels(pickled: list[tuple[object, ...]]) -> Names:
    return [tuple(map(_text, name)) for name in pickled]


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
