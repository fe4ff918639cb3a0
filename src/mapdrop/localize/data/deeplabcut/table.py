"""Read one label file of a DeepLabCut project; errors name the row.

    scorer,           Pranav, Pranav, Pranav,  Pranav
    bodyparts,        snout,  snout,  leftear, leftear
    coords,           x,      y,      x,       y
    labeled-data/m4s1/img0000.png, 21.5, 265.4, ,

The image's path is in one cell, or in newer files in three: labeled-data, video, file. A project of
several animals has a row `individuals` below `scorer`; parts that exist only once belong to the
individual `single`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from mapdrop.localize.data import csv_rows
from mapdrop.localize.data.base import DataError
from mapdrop.localize.data.csv_rows import CsvRow, parse_point
from mapdrop.localize.data.dataset import Joints, Points, Sample
from mapdrop.localize.data.deeplabcut import h5
from mapdrop.localize.data.image_files import ImageFile
from mapdrop.localize.data.joints import select_joints
from mapdrop.localize.data.paths import Finder

Columns = dict[str, tuple[int, int]]
"""The x and y column of each body part."""

SHARED = "single"
"""The individual of parts that exist once."""


@dataclass(frozen=True)
class Table:
    """The rows of one label file.

    Attributes:
        path: the file.
        where: the row of the body parts' names, for messages.
        start: the first column of coordinates.
        width: the number of columns.
        animals: the columns of each individual; a project of one animal has one, without a name.
        shared: the columns of the parts that exist once.
        rows: those below the header.
        decimal_comma: whether its numbers may have a decimal comma.
    """

    path: Path
    where: str
    start: int
    width: int
    animals: dict[str, Columns]
    shared: Columns
    rows: tuple[CsvRow, ...]
    decimal_comma: bool

    @property
    def parts(self) -> Joints:
        """Return the body parts' names."""
        own = (part for columns in self.animals.values() for part in columns)
        return tuple(dict.fromkeys([*own, *self.shared]))

    def samples(self, find: Finder, joints: Joints) -> list[Sample]:
        """Return the labels of `joints`, in that order; `find` finds the project's frames.

        Raises:
            DataError: for an unknown joint, a malformed row, or a frame outside the project.
        """
        select_joints(self.parts, joints, self.where)
        samples = []
        for row in self.rows:
            if len(row.cells) < self.width or any(row.cells[self.width :]):
                raise DataError(
                    f"{row.where}: {len(row.cells)} cells where the header has {self.width}; "
                    "complete the row, or delete it"
                )
            image = _image(find, self.path, row.where, row.cells[: self.start])
            samples.append(Sample(image, row.where, self._points(row, joints)))
        return samples

    def _points(self, row: CsvRow, joints: Joints) -> Points:
        """Return the points of the only animal in an image."""
        found = {name: self._find(row, each, joints) for name, each in self.animals.items()}
        labelled = [name for name, points in found.items() if not np.isnan(points).all()]
        if len(labelled) > 1:
            raise DataError(
                f"{row.where}: several animals are labelled ({', '.join(labelled)}), and only one "
                "in an image is supported; delete the others' labels, or export COCO with a box "
                "for each"
            )
        own = next((found[name] for name in labelled), np.full((len(joints), 2), np.nan))
        return np.where(np.isnan(own), self._find(row, self.shared, joints), own)

    def _find(self, row: CsvRow, columns: Columns, joints: Joints) -> Points:
        points = np.full((len(joints), 2), np.nan)
        for number, joint in enumerate(joints):
            if joint in columns:
                x, y = (row.cells[column] for column in columns[joint])
                points[number] = parse_point(row.where, x, y, self.decimal_comma)
        return points


def read_table(path: Path) -> Table:
    """Read a label file, a CSV or HDF5.

    Raises:
        DataError: when it can't be read, or its header is malformed.
    """
    rows: Iterator[CsvRow]
    if path.suffix == ".h5":
        rows, decimal_comma = h5.read_rows(path), False
    else:
        rows = table = csv_rows.read_rows(path)
        decimal_comma = table.decimal_comma
    header = list(islice(rows, 2))
    levels = 4 if len(header) == 2 and header[1].cells[0] == "individuals" else 3
    header += islice(rows, levels - 2)
    if len(header) < levels:
        raise DataError(f"{path}: the {levels} header rows are missing; export it again")
    # Spreadsheets add empty columns at the end.
    width = max(number for row in header for number, cell in enumerate(row.cells, 1) if cell)
    header = [row._replace(cells=row.cells[:width]) for row in header]
    start, animals = _columns(header)
    shared = animals.pop(SHARED, {}) if levels == 4 else {}
    return Table(
        path,
        header[-2].where,
        start,
        len(header[-1].cells),
        animals,
        shared,
        tuple(rows),
        decimal_comma,
    )


def _columns(header: list[CsvRow]) -> tuple[int, dict[str, Columns]]:
    """Return the first column of coordinates, and each individual's columns."""
    for expected, (where, cells) in zip(h5.LEVELS[len(header)], header, strict=True):
        if cells[0] != expected:
            raise DataError(f"{where}: expected a row {expected!r}, found {cells[0]!r}")
    (where, names), (_, axes) = header[-2:]
    individuals = header[1].cells if len(header) == 4 else [""] * len(names)
    start = axes.index("x") if "x" in axes else len(axes)
    if (
        start not in (1, 3)
        or not len(names) == len(individuals) == len(axes)
        or axes[start:] != ["x", "y"] * (len(axes[start:]) // 2)
    ):
        raise DataError(f"{header[-1][0]}: expected coords,x,y,x,y,... below the body parts' names")
    animals: dict[str, Columns] = {}
    for x in range(start, len(axes), 2):
        columns = animals.setdefault(individuals[x], {})
        if names[x] != names[x + 1] or names[x] in columns or individuals[x] != individuals[x + 1]:
            raise DataError(f"{where}: each body part should head one x and one y column")
        columns[names[x]] = (x, x + 1)
    return start, animals


def _image(find: Finder, table: Path, where: str, cells: list[str]) -> ImageFile:
    name = "/".join(cells).replace("\\", "/")
    beside = table.parent.relative_to(find.root.resolve()).as_posix()
    folders = ["", beside] if "/" in name else [beside]
    return ImageFile(find(name, folders, where))
