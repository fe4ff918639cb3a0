"""Picture files, read with care and fitted into the working size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from mapdrop.localize.data.base import DataError


def inside(root: Path, path: Path, where: str) -> Path:
    """`path` without its links, if that's still below `root`.

    Raises:
        DataError: otherwise; `where` says who named the path.
    """
    real = path.resolve()
    if not real.is_relative_to(root.resolve()):
        raise DataError(f"{where}: {path} lies outside the data folder {root}; move it there")
    return real


def read(path: Path, where: str) -> Image.Image:
    """The picture in `path`, in 8-bit colour.

    Raises:
        DataError: when there's none, it can't be decoded, or has more than 8 bits; `where` says
            who named it.
    """
    if not path.is_file():
        raise DataError(f"{where}: there is no image {path}; restore it, or delete the row")
    try:
        with Image.open(path) as picture:
            if picture.mode.startswith(("I", "F")):
                raise DataError(f"{where}: {path} has more than 8 bits; save it with 8 bits")
            return picture.convert("RGB")
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{where}: {path} can't be read as a picture: {error}") from error


def fitted(picture: Image.Image, size: tuple[int, int]) -> tuple[npt.NDArray[np.uint8], float]:
    """The picture scaled into (width, height), black beyond its right and lower edge.

    Returns:
        (height, width, 3), and the original pixels per working pixel. A point p of the original
        lies at (p + 0.5) / scale - 0.5.
    """
    scale = max(picture.width / size[0], picture.height / size[1])
    # Whole working pixels only: what is left of an odd size at the far edge is cut off.
    width = max(1, int(picture.width / scale + 1e-9))
    height = max(1, int(picture.height / scale + 1e-9))
    box = (0, 0, min(width * scale, picture.width), min(height * scale, picture.height))
    small = picture.resize((width, height), Image.Resampling.BOX, box=box)
    canvas = np.zeros((size[1], size[0], 3), np.uint8)
    canvas[:height, :width] = np.asarray(small)
    return canvas, scale
