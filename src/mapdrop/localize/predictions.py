"""Found joints as a table that DeepLabCut's users know.

scorer,mapdrop,mapdrop,mapdrop
bodyparts,snout,snout,snout
coords,x,y,likelihood
frames/0001.png,21.52,265.41,0.98
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mapdrop.localize.data import pictures
from mapdrop.localize.readout import Found
from mapdrop.localize.run.folder import write

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

    def write(self, path: Path) -> None:
        """As CSV, whole or not at all."""
        file = io.StringIO(newline="")
        table = csv.writer(file, lineterminator="\n")
        columns = [(joint, key) for joint in self.joints for key in ("x", "y", "likelihood")]
        table.writerow(["scorer", *(SCORER for _ in columns)])
        table.writerow(["bodyparts", *(joint for joint, _ in columns)])
        table.writerow(["coords", *(key for _, key in columns)])
        values = np.concatenate([self.points, self.likelihood[..., None]], axis=-1)
        for name, row in zip(self.names, values.reshape(len(values), -1), strict=True):
            table.writerow([name, *(f"{value:.4f}" for value in row)])
        write(path, file.getvalue().encode())
