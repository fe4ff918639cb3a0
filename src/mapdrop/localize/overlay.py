"""Draw detected joints on images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from PIL import Image, ImageDraw

from mapdrop.system.printable import printable

# Okabe and Ito's palette, which colour-blind readers can distinguish.
PALETTE = (
    (230, 159, 0),
    (86, 180, 233),
    (240, 228, 66),
    (204, 121, 167),
    (0, 158, 115),
    (213, 94, 0),
)


def colours(count: int) -> list[tuple[int, int, int]]:
    """Return one colour for each joint."""
    if count <= len(PALETTE):
        return list(PALETTE[:count])
    shades = colormaps["turbo"](np.linspace(0.05, 0.95, count))[:, :3]
    return [(int(r), int(g), int(b)) for r, g, b in np.rint(255 * shades)]


def draw(
    image: Image.Image,
    points: npt.NDArray[np.floating],
    likelihood: npt.NDArray[np.floating],
    joints: Sequence[str],
    threshold: float,
    spread: npt.NDArray[np.floating] | None = None,
) -> Image.Image:
    """Return a copy of an image with a dot for each joint and a legend of their names.

    Args:
        image: in colour.
        points: (K, 2) as (x, y) in the image's pixels.
        likelihood: (K,); a joint below `threshold` is drawn as a ring.
        joints: K names.
        spread: (K,), the radius of a thin circle around each joint, in the image's pixels.
    """
    shown = image.copy()
    pen = ImageDraw.Draw(shown)
    radius = max(2.0, max(image.size) / 160)
    shades = colours(len(joints))
    for (x, y), value, colour in zip(points, likelihood, shades, strict=True):
        box = (x - radius, y - radius, x + radius, y + radius)
        if value >= threshold:
            pen.ellipse(box, fill=colour, outline=(0, 0, 0))
        else:
            pen.ellipse(box, outline=colour, width=max(1, round(radius / 3)))
    if spread is not None:
        for (x, y), wide, colour in zip(points, spread, shades, strict=True):
            pen.ellipse((x - wide, y - wide, x + wide, y + wide), outline=colour)
    size = max(10.0, 3 * radius)
    for number, (joint, colour) in enumerate(zip(joints, shades, strict=True)):
        position, edge = (size / 2, size / 2 + 1.2 * size * number), max(1, round(size / 10))
        name = printable(joint)
        pen.text(position, name, colour, font_size=size, stroke_width=edge, stroke_fill=(0, 0, 0))
    return shown
