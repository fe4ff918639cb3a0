"""What a few networks made of a few test images, kept for the pictures."""

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
from mapdrop.study.runner import Outcome, shown
from mapdrop.system.files import opened, write
from mapdrop.system.npz import Npz

_PICTURES = Path("examples", "pictures.npz")
_MOST = 1 << 28  # Bytes of an array: a few images, and their heat maps.
SEED = 0
"""The seed whose networks are kept."""


@dataclass(frozen=True)
class Pictures:
    """The test images that are shown.

    Attributes:
        images: (n, H, W, 3), 0 to 255.
        points: (n, K, 2), the truth in working pixels; NaN where missing.
    """

    images: npt.NDArray[np.uint8]
    points: npt.NDArray[np.float64]

    @classmethod
    def of(cls, data: KeypointData) -> Pictures:
        """Those that `shown` chooses."""
        few = data.test[shown(data)]
        return cls(data.images[few], data.points[few])

    @classmethod
    def kept(cls, folder: Path, data: Row) -> Pictures:
        """Those of a study of these data in `folder`.

        Raises:
            OSError, ValueError: where they are missing, or damaged.
        """
        width, height = data["working_size"]
        with _arrays(folder / _PICTURES) as arrays:
            images = arrays.read("images", "|u1", (None, height, width, 3), most=_MOST)
            points = arrays.read("points", "<f8", (len(images), len(data["joints"]), 2))
            if np.isinf(points).any():
                raise ValueError("a point is infinite")
            return cls(images, points)

    @classmethod
    def none(cls, data: Row) -> Pictures:
        """Not one, of these data."""
        width, height = data["working_size"]
        return cls(np.empty((0, height, width, 3), np.uint8), np.empty((0, len(data["joints"]), 2)))

    def keep(self, folder: Path) -> None:
        """For the reports to come, which then need no data."""
        content = BytesIO()
        np.savez_compressed(content, images=self.images, points=self.points)
        write(folder / _PICTURES, content.getvalue())


@dataclass(frozen=True)
class Example:
    """One network's heat maps.

    Attributes:
        condition: which dropout trained it.
        heats: (n, K, rows, columns), of the test images that `runner.shown` chooses.
        found: (n, K, 2), the points read from them in working pixels.
    """

    condition: Condition
    heats: npt.NDArray[np.float32]
    found: npt.NDArray[np.float32]


def keep(folder: Path, cell: Cell, outcome: Outcome) -> None:
    """Writes what an outcome shows, if its seed is the one whose networks are kept."""
    if cell.seed == SEED:
        content = BytesIO()
        np.savez_compressed(content, heats=outcome.heats.astype(np.float16), found=outcome.found)
        write(_place(folder, cell), content.getvalue())


def kept(folder: Path, condition: Condition, train_size: int, pictures: Pictures) -> Example:
    """What this condition's network made of the pictures.

    Raises:
        OSError, ValueError: where it is missing, or damaged.
    """
    number, joints, _ = pictures.points.shape
    height, width = pictures.images.shape[1:3]
    sizes = [(number, joints, -(-height // side), -(-width // side)) for side in POOLINGS]
    with _arrays(_place(folder, Cell(condition, train_size, SEED))) as arrays:
        heats = arrays.read("heats", "<f2", *sizes, most=_MOST)
        found = arrays.read("found", "<f4", (number, joints, 2))
        if not (np.isfinite(heats).all() and np.isfinite(found).all()):
            raise ValueError("a value is not finite")
        return Example(condition, heats.astype(np.float32), found)


@contextmanager
def _arrays(path: Path) -> Iterator[Npz]:
    """The arrays of a file. Raises OSError, or ValueError for whatever is wrong with it."""
    with opened(path) as file:
        try:
            yield Npz(file)
        except Exception as problem:  # Foreign bytes break the readers in every way there is.
            raise ValueError(f"{path} is damaged: {problem}") from problem


def _place(folder: Path, cell: Cell) -> Path:
    condition = cell.condition
    name = f"{condition.drop}-{condition.rate:g}-{condition.block_size}-{cell.train_size}.npz"
    return folder / "examples" / name
