"""Tell coordinates in pixels from fractions of the image's size, as YOLO and MediaPipe write."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mapdrop.localize.data.base import DataError
from mapdrop.localize.data.dataset import Dataset

PIXELS, FRACTIONS = "pixels", "fractions"
UNITS = (PIXELS, FRACTIONS)

NEAR, MOST = 0.5, 0.5
"""How far outside the image a joint that a program guessed may lie, and which share is inside."""


def in_units(dataset: Dataset, units: str | None) -> Dataset:
    """Return a data set whose coordinates are read in one of `UNITS`.

    Args:
        dataset: as its reader returns it.
        units: what the coordinates are. None means pixels, but is an error where nearly all lie
            between 0 and 1: nobody labels the first pixel only, so that is a question to the user.

    Raises:
        DataError: when it has to be asked.
    """
    if units is None and _look_like_fractions(dataset):
        raise DataError(
            f"{dataset.name}: the coordinates lie between 0 and 1. Are they fractions of the "
            f"image's size? Then pass --coordinates {FRACTIONS}, or else --coordinates {PIXELS}"
        )
    return replace(dataset, fractions=units == FRACTIONS)


def _look_like_fractions(dataset: Dataset) -> bool:
    """Return whether few coordinates are outside 0 to 1, and not far: MediaPipe guesses some."""
    points = np.concatenate([sample.points for sample in dataset.samples])
    labelled = points[~np.isnan(points).any(axis=-1)]
    inside = ((labelled >= 0) & (labelled <= 1)).all(axis=-1)
    near = ((labelled >= -NEAR) & (labelled <= 1 + NEAR)).all()
    return bool(near and inside.mean() >= MOST and np.any(labelled % 1))
