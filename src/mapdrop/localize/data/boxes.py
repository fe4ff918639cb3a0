"""Cut out animals where an image has several, and nobody drew boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mapdrop.localize.data.dataset import Sample

MARGIN = 1.25
"""Boxes are enlarged by a quarter, as is usual for people, so that they hold the surroundings."""

LEAST = 32
"""Side of a square, in pixels, where every animal has a single point."""


def squares(samples: Sequence[Sample]) -> list[Sample]:
    """Return the samples with squares around their points.

    All have the same side, so that all animals are seen at one scale, and one with few labelled
    points not larger than the others: the largest extent of an animal's points, and a quarter more.
    """
    corners = [(np.nanmin(s.points, axis=0), np.nanmax(s.points, axis=0)) for s in samples]
    extents = [float(np.max(high - low)) for low, high in corners]
    half = max(LEAST, MARGIN * max(extents)) / 2
    cut_out = []
    for sample, (low, high) in zip(samples, corners, strict=True):
        x, y = ((low + high) / 2).tolist()
        cut_out.append(replace(sample, box=(x - half, y - half, x + half, y + half)))
    return cut_out
