"""A plain table of points: a CSV file whose first row is image,joint,x,y.

    image,joint,x,y
    frames/0001.png,left ear,21.5,265.4
    frames/0001.png,right ear,,

Images are named from the table's folder. Joints come in the order in which the table first names
them. An empty x and y, or no row at all, says that the joint is missing.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mapdrop.localize.data import pictures
from mapdrop.localize.data.base import DataError
from mapdrop.localize.data.cells import point, rows
from mapdrop.localize.data.dataset import Dataset, Format, Joints, Sample, labelled
from mapdrop.localize.data.names import chosen

HEADER = ["image", "joint", "x", "y"]


def read(path: Path, asked: Joints | None = None) -> Dataset:
    """The points of a table, or of the only table in a folder; a sample for each image.

    Raises:
        DataError: for anything missing or malformed, with the file, the line and the remedy.
    """
    table = _table(path)
    root = table.parent
    points: dict[tuple[Path, str], tuple[float, float]] = {}
    first: dict[Path, str] = {}
    joints: dict[str, None] = {}
    body = rows(table)
    _check_header(table, next(body, None))
    for place, cells in body:
        if len(cells) != 4:
            raise DataError(f"{place}: {len(cells)} cells where the header has 4; complete the row")
        name, joint, x, y = cells
        image = pictures.find(root, name, [""], place)
        if not joint:
            raise DataError(f"{place}: the joint's name is empty; fill it in, or delete the row")
        if (image, joint) in points:
            raise DataError(
                f"{place}: {joint!r} of {name} stands in an earlier row already; keep one of them"
            )
        points[image, joint] = point(place, x, y)
        first.setdefault(image, place)
        joints.setdefault(joint)
    names, _ = chosen(tuple(joints), asked, str(table))
    missing = (np.nan, np.nan)
    samples = [
        Sample(image, place, np.array([points.get((image, joint), missing) for joint in names]))
        for image, place in first.items()
    ]
    return Dataset(
        name=root.resolve().name if path.is_dir() else table.stem,
        joints=names,
        samples=labelled(samples, table) if names else labelled([], table),
        limits="Images are split at random: if they are frames of one video, the test is easy.",
    )


def _check_header(table: Path, row: tuple[str, list[str]] | None) -> None:
    if row is None:
        raise DataError(f"{table} is empty; its first row should be {','.join(HEADER)}")
    place, cells = row
    if cells[0] == "scorer":
        raise DataError(f"{place}: this is DeepLabCut's table; pass the folder of its config.yaml")
    if [cell.lower() for cell in cells] != HEADER:
        raise DataError(f"{place}: expected {','.join(HEADER)}, found {','.join(cells):.80}")


def _table(path: Path) -> Path:
    if path.is_file():
        return path
    tables = _tables(path)
    if len(tables) != 1:
        raise DataError(f"{path} has {len(tables)} tables of points; pass the one you mean")
    return pictures.inside(path, tables[0], str(path))


def _tables(folder: Path) -> list[Path]:
    return [table for table in sorted(folder.glob("*.csv")) if _begins_right(table)]


def _begins_right(table: Path) -> bool:
    try:
        _check_header(table, next(rows(table), None))
    except DataError:
        return False
    return True


def _recognises(path: Path) -> bool:
    if path.is_dir():
        return bool(_tables(path))
    return path.suffix.lower() == ".csv"


FORMAT = Format("a table image,joint,x,y (*.csv), or a folder with one", _recognises, read)
