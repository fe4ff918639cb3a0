"""Tell coordinates in pixels from fractions of the image's size, as YOLO and MediaPipe write."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mapdrop.localize.data.base import DataError
from mapdrop.localize.data.dataset import Dataset

PIXELS, FRACTIONS = "pixels", "fractions"
UNITS = (PIXELS, FRACTIONS)


def in_units(dataset: Dataset, units: str | None) -> Dataset:
    """Return a data set whose coordinates are read in one of `UNITS`.

    Args:
        dataset: as its reader returns it.
        units: what the coordinates are. None means pixels, but is an error where all lie between 0
            and 1: nobody labels the first pixel only, so that is a question to the user.

    Raises:
        DataError: when it has to be asked.
    """
    if units is None and _all_below_one(dataset):
        raise DataError(
            f"{dataset.name}: all coordinates lie between 0 and 1. Are they fractions of the "
            f"image's size? Then pass --coordinates {FRACTIONS}, or else --coordinates {PIXELS}"
        )
    return replace(dataset, fractions=units == FRACTIONS)


def _all_below_one(dataset: Dataset) -> bool:
    points = np.concatenate([sample.points for sample in dataset.samples])
    labelled = points[~np.isnan(points).any(axis=-1)]
    return bool(((labelled >= 0) & (labelled <= 1)).all() and np.any(labelled % 1))
