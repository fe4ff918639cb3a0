"""Summarise the test errors of each joint: which joints, and which of their images, are hard."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mapdrop.localize.evaluation.difficulty import hardest_first, worst_images
from mapdrop.localize.scores import Array, PixelErrors
from mapdrop.study.rows import Row
from mapdrop.study.verdict import Findings

JOINTS, IMAGES = 6, 5
"""Numbers of joints whose hardest images are shown, and of images for each."""


def medians(rows: Sequence[Row]) -> Array:
    """Return each joint's median test error, the median over the seeds; NaN without labels."""
    return np.median([_values(_errors(row).median()) for row in rows], axis=0)


def tails(rows: Sequence[Row]) -> Array:
    """Return the test error that one in ten of each joint exceeds, the median over the seeds."""
    return np.median([_values(_errors(row).percentile(90)) for row in rows], axis=0)


def typical(found: Findings) -> PixelErrors:
    """Return each test image's errors: the median over all seeds of each dropout's best rate.

    What is hard for all of them points to the image or its label, rather than to a network.
    """
    runs = [row for condition in found.best for row in found.runs[condition]]
    return _of_joints(np.median([_errors(row).distances for row in runs], axis=0))


def hardest(found: Findings) -> dict[int, list[int]]:
    """Return the hardest joints, and the positions of their hardest images in the test part."""
    errors = typical(found)
    joints = [joint for joint in hardest_first(errors) if errors.labels[joint]][:JOINTS]
    return {joint: worst_images(errors, joint)[:IMAGES] for joint in joints}


def _errors(row: Row) -> PixelErrors:
    return _of_joints(np.array(row["errors"]["test"], np.float64))


def _of_joints(distances: Array) -> PixelErrors:
    """Return errors of joints that are called by their number: shown names need not differ."""
    return PixelErrors(tuple(str(joint) for joint in range(distances.shape[1])), distances)


def _values(of_joints: dict[str, float]) -> list[float]:
    *values, _total = of_joints.values()
    return values
