"""Decide the box of each annotation of a COCO file: its `bbox`, enlarged by a quarter.

Some tools write the box around the labelled points. If only one point is labelled, or all lie on a
vertical or horizontal line, this box has no size. It becomes a square around the points whose side
is at least the median of the file's other boxes (the longer side of each). If no box of the file
has a size, there is nothing to go by, and the images are used whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mapdrop.localize.data.base import DataError
from mapdrop.localize.data.boxes import MARGIN
from mapdrop.localize.data.coco.document import Annotation, parse_numbers
from mapdrop.localize.data.dataset import Box, Points


class Label(NamedTuple):
    """An annotation with its points, (K, 2); NaN where missing."""

    annotation: Annotation
    points: Points


def find_boxes(labels: Sequence[Label]) -> list[Box | None]:
    """Return each label's (left, top, right, bottom); None means the full image.

    Raises:
        DataError: when a `bbox` is malformed.
    """
    given = [_given(label.annotation) for label in labels]
    sides = [max(size) for box in given if box and min(size := box[2:]) > 0]
    side = float(np.median(sides)) if sides else None
    return [_box(box, label.points, side) for box, label in zip(given, labels, strict=True)]


def _given(annotation: Annotation) -> Box | None:
    """Return the annotation's (left, top, width, height)."""
    where, record = annotation.where, annotation.record
    if record.get("bbox") in (None, []):
        return None
    left, top, width, height = parse_numbers(record, "bbox", 4, where).tolist()
    if not all(map(np.isfinite, (left, top, width, height))):
        raise DataError(f"{where}: bbox holds a number that isn't finite; correct it")
    if width < 0 or height < 0:
        raise DataError(f"{where}: bbox should have no negative width or height; correct it")
    return left, top, width, height


def _box(given: Box | None, points: Points, side: float | None) -> Box | None:
    if given is None or (min(given[2:]) == 0 and side is None):
        return None
    left, top, width, height = given
    if min(width, height) == 0:
        low, high = np.nanmin(points, axis=0), np.nanmax(points, axis=0)
        width = height = max(side or 0, *(high - low))
        left, top = (low + high - width) / 2
    across, down = width * (MARGIN - 1) / 2, height * (MARGIN - 1) / 2
    return left - across, top - down, left + width + across, top + height + down
