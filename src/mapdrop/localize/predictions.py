"""Write predictions as a table in DeepLabCut's layout.

scorer,mapdrop,mapdrop,mapdrop
bodyparts,snout,snout,snout
coords,x,y,likelihood
frames/0001.png,21.52,265.41,0.98
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import Tensor

from mapdrop.localize.csv_text import csv_text
from mapdrop.localize.data import image_files
from mapdrop.localize.readout import Detections
from mapdrop.localize.results import ResultFolder
from mapdrop.system.files import write_all

SCORER = "mapdrop"
COORDS, SPREAD = ("x", "y", "likelihood"), ("spread",)
"""What a table has of each joint: DeepLabCut's three numbers, or how uncertain the point is."""
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Predictions:
    """The joints found in N images.

    Attributes:
        joints: K names.
        names: N names of images or frames.
        points: (N, K, 2) as (x, y) in original pixels.
        likelihood: (N, K), 0 to 1.
        spread: (N, K), in original pixels: how far a point lies from its mean over passes with
            dropout, as a root mean square; None without such passes.
    """

    joints: tuple[str, ...]
    names: tuple[str, ...]
    points: Array
    likelihood: Array
    spread: Array | None = None

    @classmethod
    def of(
        cls,
        joints: tuple[str, ...],
        names: Sequence[str],
        found: Detections,
        scale: Array,
        spread: Tensor | None = None,
    ) -> Predictions:
        """Convert detections to original pixels; `scale` (N,) is their number per working pixel."""
        points = image_files.to_original(found.points.double().cpu().numpy(), scale[:, None, None])
        wide = None if spread is None else spread.double().cpu().numpy() * scale[:, None]
        return cls(joints, tuple(names), points, found.likelihood.double().cpu().numpy(), wide)

    def one(self, number: int) -> Predictions:
        """Return what was found in one image."""
        at = slice(number, number + 1)
        spread = None if self.spread is None else self.spread[at]
        return Predictions(
            self.joints, self.names[at], self.points[at], self.likelihood[at], spread
        )

    @classmethod
    def unread(cls, joints: tuple[str, ...], names: Sequence[str], spread: bool) -> Predictions:
        """Return NaN for images that can't be read; `fill` has the others."""
        shape = len(names), len(joints)
        points, likelihood = np.full((*shape, 2), np.nan), np.full(shape, np.nan)
        return cls(joints, tuple(names), points, likelihood, likelihood.copy() if spread else None)

    def fill(self, rows: Sequence[int], found: Predictions) -> None:
        """Put what was found in some of the images into their rows."""
        at = list(rows)
        self.points[at], self.likelihood[at] = found.points, found.likelihood
        if self.spread is not None:
            self.spread[at] = found.spread

    @property
    def values(self) -> Array:
        """What a table has of each joint, (N, K, 3): x, y and likelihood."""
        return np.concatenate([self.points, self.likelihood[..., None]], axis=-1)

    def table(self) -> bytes:
        """Return the complete table as CSV."""
        return header(self.joints, COORDS) + lines(self.names, self.values)


def lines(names: Sequence[str], values: Array) -> bytes:
    """Return a line for each image; `values` is (N, K, C), NaN an empty cell."""
    rows = values.reshape(len(values), -1)
    return csv_text([name, *row] for name, row in zip(names, rows, strict=True))


def header(joints: Sequence[str], coords: Sequence[str]) -> bytes:
    """Return the first three lines of a table that has some numbers of each joint."""
    columns = [(joint, key) for joint in joints for key in coords]
    return csv_text(
        [
            ["scorer", *(SCORER for _ in columns)],
            ["bodyparts", *(joint for joint, _ in columns)],
            ["coords", *(key for _, key in columns)],
        ]
    )


def partial_name(name: str) -> str:
    """Return the name of a table to which rows are still added."""
    return f"{name}.part"


class TableWriter:
    """Writes a table row by row; rows already written survive any failure.

    The file gets its name when the context exits, after the last image or an error. If the process
    is killed, the rows are in the file called `partial_name`.

    Args:
        results: the folder.
        name: the table's name in it.
        joints: K names.
        coords: what it has of each joint.
    """

    path: Path
    partial_path: Path
    rows: int

    def __init__(
        self,
        results: ResultFolder,
        name: str,
        joints: Sequence[str],
        coords: Sequence[str] = COORDS,
    ) -> None:
        self.path, self.partial_path = (results.folder / n for n in (name, partial_name(name)))
        self.rows = self._size = 0
        self._file = results.create(partial_name(name))
        self._append(header(joints, coords))

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(self, *_: object) -> None:
        with self._file as file:
            os.fsync(file.fileno())
        os.replace(self.partial_path, self.path)

    def add(self, names: Sequence[str], values: Array) -> None:
        """Add a row for each image; `values` is (N, K, C).

        Raises:
            OSError: when the disk is full; the rows before are kept.
        """
        self._append(lines(names, values))
        self.rows += len(names)

    def _append(self, lines: bytes) -> None:
        try:
            write_all(self._file, lines)
        except BaseException:
            self._file.truncate(self._size)  # Leave no incomplete line.
            raise
        self._size += len(lines)
