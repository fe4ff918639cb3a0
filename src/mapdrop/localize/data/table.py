"""Read a plain table of points: a CSV file whose first row is image,joint,x,y.

    image,joint,x,y
    frames/0001.png,left ear,21.5,265.4
    frames/0001.png,right ear,,

Image names are relative to the table's folder. Joints are in order of first occurrence. A joint is
missing when its x and y are empty, or it has no row.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mapdrop.localize.data import paths
from mapdrop.localize.data.base import DataError
from mapdrop.localize.data.csv_rows import parse_point, read_rows
from mapdrop.localize.data.dataset import Dataset, Format, Joints, Sample, keep_labelled
from mapdrop.localize.data.image_files import ImageFile
from mapdrop.localize.data.joints import select_joints

HEADER = ["image", "joint", "x", "y"]


def read(path: Path, selected: Joints | None = None) -> Dataset:
    """Read a table, or the only table in a folder; each image is a sample.

    Raises:
        DataError: for anything missing or malformed; it names the file, the line and the remedy.
    """
    table = _table(path)
    root = table.parent
    points: dict[tuple[ImageFile, str], tuple[float, float]] = {}
    first: dict[ImageFile, str] = {}
    joints: dict[str, None] = {}
    rows = read_rows(table)
    _check_header(table, next(rows, None))
    for where, cells in rows:
        if len(cells) != 4:
            raise DataError(f"{where}: {len(cells)} cells where the header has 4; complete the row")
        name, joint, x, y = cells
        image = ImageFile(paths.find(root, name, [""], where))
        if not joint:
            raise DataError(f"{where}: the joint's name is empty; fill it in, or delete the row")
        if (image, joint) in points:
            raise DataError(
                f"{where}: {joint!r} of {name} is also in an earlier row; keep one of them"
            )
        points[image, joint] = parse_point(where, x, y)
        first.setdefault(image, where)
        joints.setdefault(joint)
    names, _ = select_joints(tuple(joints), selected, str(table))
    missing = (np.nan, np.nan)
    samples = [
        Sample(image, where, np.array([points.get((image, joint), missing) for joint in names]))
        for image, where in first.items()
    ]
    return Dataset(
        name=root.resolve().name if path.is_dir() else table.stem,
        joints=names,
        samples=keep_labelled(samples, table) if names else keep_labelled([], table),
        limits="Images are split at random: if they are frames of one video, the test is easy.",
    )


def _check_header(table: Path, row: tuple[str, list[str]] | None) -> None:
    if row is None:
        raise DataError(f"{table} is empty; its first row should be {','.join(HEADER)}")
    where, cells = row
    if cells[0] == "scorer":
        raise DataError(f"{where}: this is DeepLabCut's table; pass the folder of its config.yaml")
    if [cell.lower() for cell in cells] != HEADER:
        raise DataError(f"{where}: expected {','.join(HEADER)}, found {','.join(cells):.80}")


def _table(path: Path) -> Path:
    if path.is_file():
        return path
    tables = _tables(path)
    if len(tables) != 1:
        raise DataError(f"{path} has {len(tables)} tables of points; pass one of them")
    return paths.resolve_inside(path, tables[0], str(path))


def _tables(folder: Path) -> list[Path]:
    return [table for table in sorted(folder.glob("*.csv")) if _begins_right(table)]


def _begins_right(table: Path) -> bool:
    try:
        _check_header(table, next(read_rows(table), None))
    except DataError:
        return False
    return True


def _recognises(path: Path) -> bool:
    if path.is_dir():
        return bool(_tables(path))
    return path.suffix.lower() == ".csv"


FORMAT = Format("a table image,joint,x,y (*.csv), or a folder with one", _recognises, read)
