"""One label file of a DeepLabCut project, with the line of everything that is wrong in it.

    scorer,           Pranav, Pranav, Pranav,  Pranav
    bodyparts,        snout,  snout,  leftear, leftear
    coords,           x,      y,      x,       y
    labeled-data/m4s1/img0000.png, 21.5, 265.4, ,

The picture's path stands in one cell, or (newer files) in three: labeled-data, video, file.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from mapdrop.localize.data import pictures
from mapdrop.localize.data.base import DataError

Row = tuple[str, list[str]]
"""Where it stands ("file:line"), and its cells."""


@dataclass(frozen=True)
class Label:
    """The points of one frame.

    Attributes:
        image: the frame's file; it need not exist.
        where: "file:line" of the label.
        points: (K, 2) as (x, y) in the frame's pixels; NaN where missing.
    """

    image: Path
    where: str
    points: npt.NDArray[np.float64]


def read_labels(root: Path, table: Path, joints: tuple[str, ...]) -> list[Label]:
    """The labels in `table` of the project `root`, for `joints` in that order.

    Frames with none of the joints labelled are left out.

    Raises:
        DataError: for a malformed file, an unknown joint, or a frame outside the project.
    """
    rows = _rows(table)
    try:
        header = [next(rows) for _ in range(3)]
    except StopIteration:
        raise DataError(f"{table}: the three header rows are missing; export it again") from None
    start, columns = _columns(header)
    where = [_column(header[1][0], joint, columns) for joint in joints]
    labels: dict[Path, Label] = {}
    for place, cells in rows:
        if len(cells) != len(header[2][1]):
            raise DataError(
                f"{place}: {len(cells)} cells where the header has {len(header[2][1])}; "
                "complete the row, or delete it"
            )
        image = _image(root, place, cells[:start])
        if image in labels:
            raise DataError(f"{place}: {image.name} was labelled in {labels[image].where} already")
        points = np.array([_point(place, cells[x], cells[y]) for x, y in where])
        labels[image] = Label(image, place, points)
    return [label for label in labels.values() if not np.isnan(label.points).all()]


def _rows(table: Path) -> Iterator[Row]:
    """Every row that isn't blank."""
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            for cells in reader:
                if cells:
                    yield f"{table}:{reader.line_num}", [cell.strip() for cell in cells]
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{table} can't be read as CSV: {error}; export it again") from error


def _columns(header: list[Row]) -> tuple[int, dict[str, tuple[int, int]]]:
    """The first column with a coordinate, and the columns of x and y of each body part."""
    for expected, (place, cells) in zip(("scorer", "bodyparts", "coords"), header, strict=True):
        if cells[0] != expected:
            several = "; it has several animals, only one is supported" * (
                cells[0] == "individuals"
            )
            raise DataError(f"{place}: expected a row {expected!r}, found {cells[0]!r}{several}")
    (place, names), (_, axes) = header[1:]
    start = axes.index("x") if "x" in axes else len(axes)
    if (
        start not in (1, 3)
        or len(names) != len(axes)
        or axes[start:] != ["x", "y"] * (len(axes[start:]) // 2)
    ):
        raise DataError(f"{header[2][0]}: expected coords,x,y,x,y,... below the body parts' names")
    columns = {}
    for x in range(start, len(axes), 2):
        if names[x] != names[x + 1] or names[x] in columns:
            raise DataError(f"{place}: each body part should stand over one x and one y column")
        columns[names[x]] = (x, x + 1)
    return start, columns


def _column(place: str, joint: str, columns: dict[str, tuple[int, int]]) -> tuple[int, int]:
    if joint in columns:
        return columns[joint]
    close = get_close_matches(joint, columns, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise DataError(f"{place}: no body part {joint!r}; {hint}it has {', '.join(columns)}")


def _image(root: Path, place: str, cells: list[str]) -> Path:
    path = PurePosixPath(*(cell.replace("\\", "/") for cell in cells))
    return pictures.inside(root, root / path, place)


def _point(place: str, x: str, y: str) -> tuple[float, float]:
    if (x.lower() in ("", "nan")) != (y.lower() in ("", "nan")):
        raise DataError(f"{place}: one of x={x!r}, y={y!r} is missing; fill both or empty both")
    return _number(place, x), _number(place, y)


def _number(place: str, cell: str) -> float:
    if cell.lower() in ("", "nan"):
        return math.nan
    try:
        number = float(cell)
    except ValueError:
        number = math.inf
    if not math.isfinite(number):
        raise DataError(f"{place}: {cell!r} is not a number; correct it, or empty both cells")
    return number
