"""Read one label file of a DeepLabCut project; errors name the line.

    scorer,           Pranav, Pranav, Pranav,  Pranav
    bodyparts,        snout,  snout,  leftear, leftear
    coords,           x,      y,      x,       y
    labeled-data/m4s1/img0000.png, 21.5, 265.4, ,

The image's path is in one cell, or in newer files in three: labeled-data, video, file.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import numpy as np

from mapdrop.localize.data import paths
from mapdrop.localize.data.base import DataError
from mapdrop.localize.data.csv_rows import CsvRow, parse_point, read_rows
from mapdrop.localize.data.dataset import Joints, Sample
from mapdrop.localize.data.image_files import ImageFile
from mapdrop.localize.data.joints import select_joints


def read_labels(root: Path, table: Path, joints: Joints) -> list[Sample]:
    """Read the labels of `joints`, in that order, from `table` of the project `root`.

    Frames without a labelled joint are left out.

    Raises:
        DataError: for a malformed file, an unknown joint, or a frame outside the project.
    """
    body = read_rows(table)
    try:
        header = [next(body) for _ in range(3)]
    except StopIteration:
        raise DataError(f"{table}: the three header rows are missing; export it again") from None
    start, columns = _columns(header)
    select_joints(tuple(columns), joints, header[1][0])
    pairs = [columns[joint] for joint in joints]
    labels: dict[ImageFile, Sample] = {}
    for where, cells in body:
        if len(cells) != len(header[2][1]):
            raise DataError(
                f"{where}: {len(cells)} cells where the header has {len(header[2][1])}; "
                "complete the row, or delete it"
            )
        image = _image(root, where, cells[:start])
        if image in labels:
            raise DataError(
                f"{where}: {image.name} was labelled in {labels[image].where} already; keep one"
            )
        points = np.array(
            [parse_point(where, cells[x], cells[y], body.decimal_comma) for x, y in pairs]
        )
        labels[image] = Sample(image, where, points)
    return [label for label in labels.values() if not np.isnan(label.points).all()]


def _columns(header: list[CsvRow]) -> tuple[int, dict[str, tuple[int, int]]]:
    """Return the first coordinate column, and the x and y columns of each body part."""
    for expected, (where, cells) in zip(("scorer", "bodyparts", "coords"), header, strict=True):
        if cells[0] != expected:
            several = "; only one animal is supported, not several" * (cells[0] == "individuals")
            raise DataError(f"{where}: expected a row {expected!r}, found {cells[0]!r}{several}")
    (where, names), (_, axes) = header[1:]
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
            raise DataError(f"{where}: each body part should head one x and one y column")
        columns[names[x]] = (x, x + 1)
    return start, columns


def _image(root: Path, where: str, cells: list[str]) -> ImageFile:
    path = PurePosixPath(*(cell.replace("\\", "/") for cell in cells))
    return ImageFile(paths.resolve_inside(root, root / path, where))
