"""Pictures with what was found drawn on them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from PIL import Image, ImageDraw

from mapdrop.system.printable import printable

# Okabe and Ito's colours: told apart by colour-blind readers too.
FEW = ((230, 159, 0), (86, 180, 233), (240, 228, 66), (204, 121, 167), (0, 158, 115), (213, 94, 0))


def colours(count: int) -> list[tuple[int, int, int]]:
    """One for each joint."""
    if count <= len(FEW):
        return list(FEW[:count])
    shades = colormaps["turbo"](np.linspace(0.05, 0.95, count))[:, :3]
    return [(int(r), int(g), int(b)) for r, g, b in np.rint(255 * shades)]


def draw(
    picture: Image.Image,
    points: npt.NDArray[np.floating],
    likelihood: npt.NDArray[np.floating],
    joints: Sequence[str],
    threshold: float,
) -> Image.Image:
    """A copy with a dot for each joint, and their names in a corner.

    Args:
        picture: in colour.
        points: (K, 2) as (x, y) in its pixels.
        likelihood: (K,); what is below `threshold` is drawn as a ring.
        joints: K names.
    """
    shown = picture.copy()
    pen = ImageDraw.Draw(shown)
    radius = max(2.0, max(picture.size) / 160)
    shades = colours(len(joints))
    for (x, y), sure, colour in zip(points, likelihood, shades, strict=True):
        box = (x - radius, y - radius, x + radius, y + radius)
        if sure >= threshold:
            pen.ellipse(box, fill=colour, outline=(0, 0, 0))
        else:
            pen.ellipse(box, outline=colour, width=max(1, round(radius / 3)))
    size = max(10.0, 3 * radius)
    for number, (joint, colour) in enumerate(zip(joints, shades, strict=True)):
        place, edge = (size / 2, size / 2 + 1.2 * size * number), max(1, round(size / 10))
        name = printable(joint)
        pen.text(place, name, colour, font_size=size, stroke_width=edge, stroke_fill=(0, 0, 0))
    return shown
