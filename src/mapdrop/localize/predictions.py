"""Found joints as a table that DeepLabCut's users know.

scorer,mapdrop,mapdrop,mapdrop
bodyparts,snout,snout,snout
coords,x,y,likelihood
frames/0001.png,21.52,265.41,0.98
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mapdrop.localize.data import pictures
from mapdrop.localize.readout import Found
from mapdrop.localize.results import Results
from mapdrop.system.files import write_all

SCORER = "mapdrop"
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Predictions:
    """What was found in N pictures.

    Attributes:
        joints: K names.
        names: N, of the pictures or frames.
        points: (N, K, 2) as (x, y) in original pixels.
        likelihood: (N, K), 0 to 1.
    """

    joints: tuple[str, ...]
    names: tuple[str, ...]
    points: Array
    likelihood: Array

    @classmethod
    def of(
        cls, joints: tuple[str, ...], names: Sequence[str], found: Found, scale: Array
    ) -> Predictions:
        """From working pixels, of which one is `scale` (N,) original ones."""
        points = pictures.original(found.points.double().cpu().numpy(), scale[:, None, None])
        return cls(joints, tuple(names), points, found.likelihood.double().cpu().numpy())

    def table(self) -> bytes:
        """Return them all as CSV."""
        return header(self.joints) + self.rows()

    def rows(self) -> bytes:
        """Return a line for each picture."""
        values = np.concatenate([self.points, self.likelihood[..., None]], axis=-1)
        return _csv(
            [name, *(f"{value:.4f}" for value in row)]
            for name, row in zip(self.names, values.reshape(len(values), -1), strict=True)
        )


def header(joints: Sequence[str]) -> bytes:
    """Return the first three lines of a table."""
    columns = [(joint, key) for joint in joints for key in ("x", "y", "likelihood")]
    return _csv(
        [
            ["scorer", *(SCORER for _ in columns)],
            ["bodyparts", *(joint for joint, _ in columns)],
            ["coords", *(key for _, key in columns)],
        ]
    )


def _csv(rows: Iterable[Sequence[str]]) -> bytes:
    file = io.StringIO(newline="")
    csv.writer(file, lineterminator="\n").writerows(rows)
    # A file's name need not be text: bytes that aren't UTF-8 are written out, as \\udce9.
    return file.getvalue().encode(errors="backslashreplace")


def unfinished(name: str) -> str:
    """Return what a table is called while rows are still added to it."""
    return f"{name}.part"


class Table:
    """A table that grows while pictures are looked at. What is in it survives whatever comes.

    It gets its name when it is left: by the last picture, by Ctrl-C, or because the disk is full.
    Of a process that was killed the rows are in the file of the `unfinished` name.

    Args:
        results: the folder.
        name: the table's, in it.
        joints: K names.
    """

    def __init__(self, results: Results, name: str, joints: Sequence[str]) -> None:
        self.path, self.unfinished = (results.folder / n for n in (name, unfinished(name)))
        self.rows = self._whole = 0
        self._file = results.created(unfinished(name))
        self._append(header(joints))

    def __enter__(self) -> Table:
        return self

    def __exit__(self, *_: object) -> None:
        with self._file as file:
            os.fsync(file.fileno())
        os.replace(self.unfinished, self.path)

    def add(self, found: Predictions) -> None:
        """Add a row for each picture.

        Raises:
            OSError: when the disk is full; the rows before are kept.
        """
        self._append(found.rows())
        self.rows += len(found.names)

    def _append(self, lines: bytes) -> None:
        try:
            write_all(self._file, lines)
        except BaseException:
            self._file.truncate(self._whole)  # No half line is left.
            raise
        self._whole += len(lines)
