"""Read a plain table of points: a CSV file whose first row is image,joint,x,y.

    image,joint,x,y
    frames/0001.png,left ear,21.5,265.4
    frames/0001.png,right ear,,

The columns may be in any order. Image names are relative to the table's folder. Joints are in order
of first occurrence. A joint is missing when its x and y are empty, or it has no row.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from mapdrop.localize.data import paths
from mapdrop.localize.data.base import DataError
from mapdrop.localize.data.csv_rows import CsvRow, parse_point, read_rows
from mapdrop.localize.data.dataset import Dataset, Format, Joints, Sample
from mapdrop.localize.data.image_files import ImageFile
from mapdrop.localize.data.joints import select_joints
from mapdrop.localize.data.left_out import phrases

HEADER = ("image", "joint", "x", "y")
SUFFIXES = (".csv", ".tsv", ".txt")
"""How a table's name may end; Excel saves Unicode text as .txt."""
PEEK_BYTES = 1 << 16
"""Enough of a file to find its first row."""


def read(path: Path, selected: Joints | None = None) -> Dataset:
    """Read a table, or the only table in a folder; each image is a sample.

    Raises:
        DataError: for anything missing or malformed; it names the file, the line and the remedy.
    """
    table = _table(path)
    labels = _read_labels(table)
    available = tuple(dict.fromkeys(joint for _, joint in labels.points))
    joints = _select(available, selected, str(table))
    missing = (np.nan, np.nan)
    samples = [
        Sample(
            image, where, np.array([labels.points.get((image, joint), missing) for joint in joints])
        )
        for image, where in labels.images.items()
    ]
    return Dataset(
        name=table.parent.resolve().name if path.is_dir() else table.stem,
        joints=joints,
        samples=tuple(samples),
        limits="Images are split at random: if they are frames of one video, the test is easy.",
        left_out=phrases({f"({', '.join(labels.unused)})": len(labels.unused)}, "column"),
    )


@dataclass
class _Labels:
    """What a table says.

    Attributes:
        points: (x, y) of each image and joint that has a row; NaN where missing.
        images: where each image occurs first.
        unused: names of the columns that hold something else.
    """

    points: dict[tuple[ImageFile, str], tuple[float, float]] = field(default_factory=dict)
    images: dict[ImageFile, str] = field(default_factory=dict)
    unused: list[str] = field(default_factory=list)


def _read_labels(table: Path) -> _Labels:
    rows = read_rows(table)
    header = _header(table, next(rows, None))
    columns = [header.index(name) for name in HEADER]
    labels, filled, find = _Labels(), set[int](), paths.Finder(table.parent)
    for where, cells in rows:
        _check_length(where, cells, header)
        name, joint, x, y = (cells[column] for column in columns)
        image = ImageFile(find(name, [""], where))
        if not joint:
            raise DataError(f"{where}: the joint's name is empty; fill it in, or delete the row")
        if (image, joint) in labels.points:
            raise DataError(
                f"{where}: {joint!r} of {name} is also in an earlier row; keep one of them"
            )
        labels.points[image, joint] = parse_point(where, x, y, rows.decimal_comma)
        labels.images.setdefault(image, where)
        filled.update(column for column, cell in enumerate(cells) if cell)
    others = sorted(filled.difference(columns))
    labels.unused.extend(header[column] or f"number {column + 1}" for column in others)
    return labels


def _select(available: Joints, selected: Joints | None, where: str) -> Joints:
    """Return the joints to use. One without a row is missing everywhere.

    Raises:
        DataError: when no selected joint has a row, or one without looks like a typing mistake.
    """
    absent = [joint for joint in selected or () if joint not in available]
    others = [joint for joint in available if joint not in (selected or ())]
    is_slip = any(get_close_matches(joint, others, n=1) for joint in absent)
    if selected is None or not absent or len(absent) == len(selected) or is_slip:
        return select_joints(available, selected, where)[0]
    return selected


def _header(table: Path, row: CsvRow | None) -> list[str]:
    """Return the names of the columns, in lower case."""
    expected = ",".join(HEADER)
    if row is None:
        raise DataError(f"{table} is empty; its first row should be {expected}")
    where, cells = row
    if cells[0] == "scorer":
        raise DataError(f"{where}: this is DeepLabCut's table; pass the folder of its config.yaml")
    names = [cell.lower() for cell in cells]
    if any(names.count(name) != 1 for name in HEADER):
        raise DataError(f"{where}: expected {expected}, found {','.join(cells):.80}")
    return names


def _check_length(where: str, cells: list[str], header: list[str]) -> None:
    """Accept empty cells after the last column, and the lack of other columns at the end."""
    too_few = len(cells) <= max(header.index(name) for name in HEADER)
    if too_few or any(cells[len(header) :]):
        remedy = "complete the row" if too_few else "write decimals with a point, or delete cells"
        raise DataError(f"{where}: {len(cells)} cells where the header has {len(header)}; {remedy}")


def _table(path: Path) -> Path:
    if path.is_file():
        return path
    tables = _tables(path)
    if len(tables) != 1:
        raise DataError(f"{path} has {len(tables)} tables of points; pass one of them")
    return paths.resolve_inside(path, tables[0], str(path))


def _tables(folder: Path) -> list[Path]:
    files = (file for file in sorted(folder.glob("*")) if file.suffix.lower() in SUFFIXES)
    return [file for file in files if not paths.is_hidden(file) and _begins_right(file)]


def _begins_right(table: Path) -> bool:
    try:
        _header(table, next(read_rows(table, PEEK_BYTES), None))
    except DataError:
        return False
    return True


def _recognises(path: Path) -> bool:
    return bool(_tables(path)) if path.is_dir() else path.suffix.lower() in SUFFIXES


FORMAT = Format("a table image,joint,x,y (*.csv), or a folder with one", _recognises, read)
