"""Draw the part of an image that holds its joints, with labels and what was found of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from mapdrop.localize.contact_sheet import WIDTH, Colour

EXTENTS, SMALLEST = 1.5, 0.25
"""The shown part of an image, in extents of its points, and at least in widths of the image."""

Points = npt.NDArray[np.float64]
Dot = tuple[Points, Colour]
"""A point found in the image, and its colour."""
Box = tuple[float, float, float, float]


def marked(
    image: npt.NDArray[np.uint8],
    labels: Points,
    joint: int,
    shades: Sequence[Colour],
    found: Sequence[Dot],
    others: Sequence[Dot] = (),
) -> Image.Image:
    """Return a picture as wide as those of a contact sheet.

    Args:
        image: (H, W, 3).
        labels: (K, 2) in its pixels, NaN where missing; drawn as crosses.
        joint: the index of the joint that matters; its label is there, and has a large cross.
        shades: K colours of the crosses.
        found: points that were taken for the joint; large dots, joined with its label.
        others: other points; small dots.
    """
    height, width = image.shape[:2]
    box = _box(np.vstack([labels, *(point for point, _ in found)]), (width, height))
    factor = WIDTH / (box[2] - box[0])
    size = WIDTH, max(1, round((box[3] - box[1]) * factor))
    shown = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC, box)
    pen = ImageDraw.Draw(shown)

    def place(point: Points) -> tuple[float, float]:
        x, y = (point + 0.5 - box[:2]) * factor - 0.5
        return float(x), float(y)

    for point, colour in others:
        _dot(pen, place(point), colour, 3)
    for other, (label, shade) in enumerate(zip(labels, shades, strict=True)):
        if other != joint and not np.isnan(label).any():
            _cross(pen, place(label), shade, 4)
    for point, _ in found:
        pen.line((*place(labels[joint]), *place(point)), "white", 2)
    _cross(pen, place(labels[joint]), shades[joint], 7)
    for point, colour in found:
        _dot(pen, place(point), colour, 5)
    return shown


def _dot(pen: ImageDraw.ImageDraw, place: tuple[float, float], colour: Colour, radius: int) -> None:
    x, y = place
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), colour, "black")


def _cross(pen: ImageDraw.ImageDraw, place: tuple[float, float], colour: Colour, arm: int) -> None:
    x, y = place
    for wide, shade in ((4, (0, 0, 0)), (2, colour)):
        pen.line((x - arm, y - arm, x + arm, y + arm), shade, wide)
        pen.line((x - arm, y + arm, x + arm, y - arm), shade, wide)


def _box(points: Points, size: tuple[int, int]) -> Box:
    """Return (left, top, right, bottom) around points: of the image's shape, and inside it."""
    shape = np.array(size, np.float64)
    low, high = np.nanmin(points, axis=0), np.nanmax(points, axis=0)
    share = np.clip((EXTENTS * (high - low) / shape).max(), SMALLEST, 1)
    start = np.clip((low + high + 1 - share * shape) / 2, 0, (1 - share) * shape)
    left, top = start.tolist()
    right, bottom = (start + share * shape).tolist()
    return left, top, min(right, size[0]), min(bottom, size[1])
