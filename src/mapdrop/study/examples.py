"""Store some networks' detections on some test images, to show them in reports."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mapdrop.localize.data import KeypointData
from mapdrop.localize.network import POOLINGS
from mapdrop.study.conditions import Condition
from mapdrop.study.grid import Cell
from mapdrop.study.rows import Row
from mapdrop.study.runner import RunResult, example_indices
from mapdrop.system.files import opened, write
from mapdrop.system.npz import Npz

_IMAGES_FILE = Path("examples", "pictures.npz")
MAX_BYTES = 1 << 28  # Largest array in bytes: a few images or their heat maps.
SEED = 0
"""The seed whose detections are stored."""


@dataclass(frozen=True)
class ExampleImages:
    """The test images that reports show.

    Attributes:
        images: (n, H, W, 3), 0 to 255.
        points: (n, K, 2), the truth in working pixels; NaN where missing.
    """

    images: npt.NDArray[np.uint8]
    points: npt.NDArray[np.float64]

    @classmethod
    def select(cls, data: KeypointData) -> ExampleImages:
        """Select the images of `example_indices`."""
        indices = data.test[example_indices(data)]
        return cls(data.images[indices], data.points[indices])

    @classmethod
    def load(cls, folder: Path, data: Row) -> ExampleImages:
        """Load the images of a study in `folder`, whose first row describes `data`.

        Raises:
            OSError, ValueError: when they are missing or damaged.
        """
        width, height = data["working_size"]
        with arrays_of(folder / _IMAGES_FILE) as arrays:
            images = arrays.read("images", "|u1", (None, height, width, 3), most=MAX_BYTES)
            points = arrays.read("points", "<f8", (len(images), len(data["joints"]), 2))
            if np.isinf(points).any():
                raise ValueError("a point is infinite")
            return cls(images, points)

    @classmethod
    def empty(cls, data: Row) -> ExampleImages:
        """Return zero images."""
        width, height = data["working_size"]
        return cls(np.empty((0, height, width, 3), np.uint8), np.empty((0, len(data["joints"]), 2)))

    def save(self, folder: Path) -> None:
        """Save the images, so that later reports need no data set."""
        content = BytesIO()
        np.savez_compressed(content, images=self.images, points=self.points)
        write(folder / _IMAGES_FILE, content.getvalue())


@dataclass(frozen=True)
class Example:
    """One network's detections on the test images of `runner.example_indices`.

    Attributes:
        condition: the dropout that it was trained with.
        heat_maps: (n, K, rows, columns).
        points: (n, K, 2), read from the heat maps, in working pixels.
    """

    condition: Condition
    heat_maps: npt.NDArray[np.float32]
    points: npt.NDArray[np.float32]


def save_example(folder: Path, cell: Cell, result: RunResult) -> None:
    """Save a result's detections if its cell has the seed that reports show."""
    if cell.seed == SEED:
        content = BytesIO()
        np.savez_compressed(
            content,
            heats=result.heat_maps.astype(np.float16),
            found=result.points,
            tested=result.test_points,
        )
        write(_path(folder, cell), content.getvalue())


def load_example(
    folder: Path, condition: Condition, train_size: int, shown: ExampleImages
) -> Example:
    """Load the detections of this condition's network on the images.

    Raises:
        OSError, ValueError: when they are missing or damaged.
    """
    number, joints, _ = shown.points.shape
    height, width = shown.images.shape[1:3]
    sizes = [(number, joints, -(-height // side), -(-width // side)) for side in POOLINGS]
    with arrays_of(_path(folder, Cell(condition, train_size, SEED))) as arrays:
        heat_maps = arrays.read("heats", "<f2", *sizes, most=MAX_BYTES)
        points = arrays.read("found", "<f4", (number, joints, 2))
        if not (np.isfinite(heat_maps).all() and np.isfinite(points).all()):
            raise ValueError("a value is not finite")
        return Example(condition, heat_maps.astype(np.float32), points)


def load_detections(
    folder: Path, condition: Condition, train_size: int, data: Row
) -> npt.NDArray[np.float32] | None:
    """Load what this condition's network found in all test images, (N, K, 2) in working pixels.

    Returns:
        None for a study of an earlier version, which did not store it.

    Raises:
        OSError, ValueError: when it is missing or damaged.
    """
    with arrays_of(_path(folder, Cell(condition, train_size, SEED))) as arrays:
        if "tested" not in arrays.names:
            return None
        shape = data["test"], len(data["joints"]), 2
        points = arrays.read("tested", "<f4", shape, most=MAX_BYTES)
        if not np.isfinite(points).all():
            raise ValueError("a point is not finite")
        return points


@contextmanager
def arrays_of(path: Path) -> Iterator[Npz]:
    """Open the arrays of a file. Raise OSError, or ValueError when the file is damaged."""
    with opened(path) as file:
        try:
            yield Npz(file)
        except Exception as problem:  # A reader may raise any exception for damaged bytes.
            raise ValueError(f"{path} is damaged: {problem}") from problem


def _path(folder: Path, cell: Cell) -> Path:
    condition = cell.condition
    name = f"{condition.drop}-{condition.rate:g}-{condition.block_size}-{cell.train_size}.npz"
    return folder / "examples" / name
