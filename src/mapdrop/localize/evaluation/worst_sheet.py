"""Draw the worst predictions of each joint, for people to see what is wrong with them."""

from __future__ import annotations

import numpy as np
from PIL import Image

from mapdrop.localize import overlay
from mapdrop.localize.contact_sheet import COLUMNS, Picture, Section, sheet_of
from mapdrop.localize.evaluation import Evaluation
from mapdrop.localize.evaluation.difficulty import hardest_first, worst_images
from mapdrop.localize.marked_picture import marked
from mapdrop.system.printable import printable, short_path

JOINTS = 12
"""Number of joints shown, the hardest ones; each has a row of its worst images."""
HEADING = "Crosses: labels. Dots: what was found. Large: the row's joint, its largest errors first."


def draw(evaluation: Evaluation) -> Image.Image:
    """Return a row of pictures for each joint, the hardest joint and the worst image first."""
    errors, shades = evaluation.errors, overlay.colours(len(evaluation.joints))
    joints = [joint for joint in hardest_first(errors) if errors.labels[joint]][:JOINTS]
    legend = [(shades[joint], printable(evaluation.joints[joint])) for joint in joints]
    medians, tails, sections = errors.median(), errors.percentile(90), []
    for joint in joints:
        name = evaluation.joints[joint]
        title = (
            f"{printable(name)}: median error {medians[name]:.1f} px, 9 in 10 within "
            f"{tails[name]:.1f} px, {errors.labels[joint]} labels"
        )
        sections.append(Section(title, _pictures(evaluation, joint)))
    return sheet_of(HEADING, legend, sections)


def _pictures(evaluation: Evaluation, joint: int) -> list[Picture]:
    images = worst_images(evaluation.errors, joint)[:COLUMNS]
    return [(_picture(evaluation, i, joint), _text(evaluation, i, joint)) for i in images]


def _text(evaluation: Evaluation, image: int, joint: int) -> str:
    error = evaluation.errors.distances[image, joint]
    likelihood = evaluation.predictions.likelihood[image, joint]
    nearest = evaluation.nearest[image, joint]
    at = "" if nearest == joint else f"found at {printable(evaluation.joints[nearest])}"
    name = short_path(evaluation.labelled.image_names[image])
    return f"{error:.1f} px, likelihood {likelihood:.2f}\n{name}\n{at}"


def _picture(evaluation: Evaluation, image: int, joint: int) -> Image.Image:
    labelled = evaluation.labelled
    labels, shades = labelled.points[image], overlay.colours(len(evaluation.joints))
    found = (evaluation.predictions.points[image] + 0.5) / labelled.scale[image] - 0.5
    others = [
        (found[other], shades[other])
        for other in np.flatnonzero(~np.isnan(labels).any(axis=-1))
        if other != joint
    ]
    dot = found[joint], shades[joint]
    return marked(labelled.images[image], labels, joint, shades, [dot], others)
