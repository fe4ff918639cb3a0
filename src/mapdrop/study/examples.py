"""What a few networks made of a few test images, kept for the pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mapdrop.localize.data import KeypointData
from mapdrop.localize.run.folder import write
from mapdrop.study.conditions import Condition
from mapdrop.study.grid import Cell
from mapdrop.study.runner import Outcome, shown

_PICTURES = Path("examples", "pictures.npz")
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
    def kept(cls, folder: Path) -> Pictures:
        """Those of a study in `folder`."""
        with np.load(folder / _PICTURES, allow_pickle=False) as arrays:
            return cls(arrays["images"], arrays["points"])

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


def kept(folder: Path, conditions: Sequence[Condition], train_size: int) -> list[Example]:
    """Those of these conditions that there are."""
    found = []
    for condition in conditions:
        path = _place(folder, Cell(condition, train_size, SEED))
        if path.exists():
            with np.load(path, allow_pickle=False) as arrays:
                heats = arrays["heats"].astype(np.float32)
                found.append(Example(condition, heats, arrays["found"]))
    return found


def _place(folder: Path, cell: Cell) -> Path:
    condition = cell.condition
    name = f"{condition.drop}-{condition.rate:g}-{condition.block_size}-{cell.train_size}.npz"
    return folder / "examples" / name
