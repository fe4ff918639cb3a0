"""Draw the worst predictions of each joint, for people to see what is wrong with them."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from mapdrop.localize import overlay
from mapdrop.localize.contact_sheet import COLUMNS, WIDTH, Section, sheet_of
from mapdrop.localize.difficulty import hardest_first, worst_images
from mapdrop.system.printable import printable

if TYPE_CHECKING:
    from mapdrop.localize.evaluation import Evaluation

JOINTS = 12
"""Number of joints shown, the hardest ones; each has a row of its worst images."""
HEADING = "crosses: labels; dots: what was found; large: the row's joint, its largest errors first"
MARGIN, SMALLEST = 1.5, 0.25
"""The shown part of an image, in extents of its points, and at least in widths of the image."""

Points = npt.NDArray[np.float64]
Colour = tuple[int, int, int]
Box = tuple[float, float, float, float]


def draw(evaluation: Evaluation) -> Image.Image:
    """Return a row of pictures for each joint, the hardest joint and the worst image first."""
    errors = evaluation.errors
    joints = [joint for joint in hardest_first(errors) if errors.labels[joint]]
    sections = [_section(evaluation, joint) for joint in joints[:JOINTS]]
    return sheet_of(HEADING, sections)


def _section(evaluation: Evaluation, joint: int) -> Section:
    errors, name = evaluation.errors, evaluation.joints[joint]
    title = (
        f"{printable(name)}: median error {errors.median()[name]:.1f} px, 9 in 10 within "
        f"{errors.percentile(90)[name]:.1f} px, {errors.labels[joint]} labels"
    )
    images = worst_images(errors, joint)[:COLUMNS]
    pictures = [(_picture(evaluation, i, joint), _text(evaluation, i, joint)) for i in images]
    return Section(title, overlay.colours(len(evaluation.joints))[joint], pictures)


def _text(evaluation: Evaluation, image: int, joint: int) -> str:
    error = evaluation.errors.distances[image, joint]
    likelihood = evaluation.predictions.likelihood[image, joint]
    nearest = evaluation.nearest[image, joint]
    at = "" if nearest == joint else f"found at {printable(evaluation.joints[nearest])}"
    path = PurePath(evaluation.labelled.image_names[image])
    name = printable("/".join(path.parts[-2:]))
    return f"{error:.1f} px, likelihood {likelihood:.2f}\n{name}\n{at}"


def _picture(evaluation: Evaluation, image: int, joint: int) -> Image.Image:
    """Return the part of an image that holds its joints; a line joins this joint and its label."""
    labelled = evaluation.labelled
    truth = labelled.points[image]
    found = (evaluation.predictions.points[image] + 0.5) / labelled.scale[image] - 0.5
    box = _box(np.vstack([truth, found[joint]]), labelled.size)
    factor = WIDTH / (box[2] - box[0])
    size = WIDTH, max(1, round((box[3] - box[1]) * factor))
    shown = Image.fromarray(labelled.images[image]).resize(size, Image.Resampling.BICUBIC, box)
    pen, shades = ImageDraw.Draw(shown), overlay.colours(len(truth))
    truth, found = ((points + 0.5 - box[:2]) * factor - 0.5 for points in (truth, found))
    for other, colour in enumerate(shades):
        if other != joint and not np.isnan(truth[other]).any():
            _dot(pen, found[other], colour, 3)
            _cross(pen, truth[other], colour, 4)
    pen.line((*truth[joint], *found[joint]), "white", 2)
    _cross(pen, truth[joint], shades[joint], 7)
    _dot(pen, found[joint], shades[joint], 5)
    return shown


def _dot(pen: ImageDraw.ImageDraw, point: Points, colour: Colour, radius: int) -> None:
    x, y = point
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), colour, "black")


def _cross(pen: ImageDraw.ImageDraw, point: Points, colour: Colour, arm: int) -> None:
    x, y = point
    for wide, shade in ((4, (0, 0, 0)), (2, colour)):
        pen.line((x - arm, y - arm, x + arm, y + arm), shade, wide)
        pen.line((x - arm, y + arm, x + arm, y - arm), shade, wide)


def _box(points: Points, size: tuple[int, int]) -> Box:
    """Return (left, top, right, bottom) around points: of the image's shape, and inside it."""
    shape = np.array(size, np.float64)
    low, high = np.nanmin(points, axis=0), np.nanmax(points, axis=0)
    share = np.clip((MARGIN * (high - low) / shape).max(), SMALLEST, 1)
    start = np.clip((low + high + 1 - share * shape) / 2, 0, (1 - share) * shape)
    left, top = start.tolist()
    right, bottom = (start + share * shape).tolist()
    return left, top, min(right, size[0]), min(bottom, size[1])
