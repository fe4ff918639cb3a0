"""One label file of a DeepLabCut project, with the line of everything that is wrong in it.

    scorer,           Pranav, Pranav, Pranav,  Pranav
    bodyparts,        snout,  snout,  leftear, leftear
    coords,           x,      y,      x,       y
    labeled-data/m4s1/img0000.png, 21.5, 265.4, ,

The picture's path stands in one cell, or (newer files) in three: labeled-data, video, file.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import numpy as np

from mapdrop.localize.data import pictures
from mapdrop.localize.data.base import DataError
from mapdrop.localize.data.cells import Row, point, rows
from mapdrop.localize.data.dataset import Joints, Sample
from mapdrop.localize.data.names import chosen


def read_labels(root: Path, table: Path, joints: Joints) -> list[Sample]:
    """The labels in `table` of the project `root`, for `joints` in that order.

    Frames with none of the joints labelled are left out.

    Raises:
        DataError: for a malformed file, an unknown joint, or a frame outside the project.
    """
    body = rows(table)
    try:
        header = [next(body) for _ in range(3)]
    except StopIteration:
        raise DataError(f"{table}: the three header rows are missing; export it again") from None
    start, columns = _columns(header)
    chosen(tuple(columns), joints, header[1][0])
    places = [columns[joint] for joint in joints]
    labels: dict[Path, Sample] = {}
    for place, cells in body:
        if len(cells) != len(header[2][1]):
            raise DataError(
                f"{place}: {len(cells)} cells where the header has {len(header[2][1])}; "
                "complete the row, or delete it"
            )
        image = _image(root, place, cells[:start])
        if image in labels:
            raise DataError(
                f"{place}: {image.name} was labelled in {labels[image].where} already; keep one"
            )
        points = np.array([point(place, cells[x], cells[y]) for x, y in places])
        labels[image] = Sample(image, place, points)
    return [label for label in labels.values() if not np.isnan(label.points).all()]


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


def _image(root: Path, place: str, cells: list[str]) -> Path:
    path = PurePosixPath(*(cell.replace("\\", "/") for cell in cells))
    return pictures.inside(root, root / path, place)
