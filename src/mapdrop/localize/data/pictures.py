"""Picture files, read with care, cut and fitted into the working size."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from mapdrop.localize.data.base import DataError
from mapdrop.system.files import opened

KINDS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""What Pillow may open. Of the others EPS, for one, would start a program."""


def inside(root: Path, path: Path, where: str) -> Path:
    """`path` without its links, if that's still below `root`.

    Raises:
        DataError: otherwise, and for a path that can't be; `where` says who named the path.
    """
    try:
        real = path.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # Too long, a loop of links, a zero byte.
        raise DataError(
            f"{where}: {str(path)!r:.200} is not a path: {error}; correct it"
        ) from error
    if not real.is_relative_to(root.resolve()):
        raise DataError(f"{where}: {path} lies outside the data folder {root}; move it there")
    return real


def find(root: Path, name: str, folders: Sequence[str], where: str) -> Path:
    """The picture `name` in the first of the `folders` of `root` that has it.

    When none has, it's said to be missing from the first that there is.

    Raises:
        DataError: when the name leads out of `root`.
    """
    name = name.replace("\\", "/")
    if not name.strip():
        raise DataError(f"{where}: the image's name is empty; fill it in, or delete the label")
    paths = [inside(root, root / folder / name, where) for folder in folders]
    there = (path for is_there in (_exists, _could) for path in paths if is_there(path))
    return next(there, paths[0])


def header(path: Path, where: str) -> tuple[int, int]:
    """(width, height) of the picture in `path`, of which only the beginning is read.

    Raises:
        DataError: when there's none, it's no picture, or has more than 8 bits; `where` says who
            named it.
    """
    with _opened(path, where) as picture:
        return picture.size


def read(path: Path, where: str) -> Image.Image:
    """The picture in `path`, in 8-bit colour.

    Raises:
        DataError: as `header`, and when it can't be decoded.
    """
    with _opened(path, where) as picture:
        return picture.convert("RGB")


def clipped(
    box: tuple[float, float, float, float] | None, size: tuple[int, int]
) -> tuple[int, int, int, int]:
    """A box widened to whole pixels and cut to a picture of (width, height) `size`."""
    if box is None:
        return 0, 0, *size
    left, top, right, bottom = np.clip(box, 0, (*size, *size)).tolist()
    return math.floor(left), math.floor(top), math.ceil(right), math.ceil(bottom)


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


Array = npt.NDArray[np.float64]


def original(points: Array, scale: float | Array) -> Array:
    """Points of the working picture in the original's pixels; `scale` as `fitted` returns it."""
    return (points + 0.5) * scale - 0.5


@contextmanager
def _opened(path: Path, where: str) -> Iterator[Image.Image]:
    if not _exists(path):
        raise DataError(f"{where}: there is no image {path}; restore it, or delete the row")
    try:
        with opened(path) as file, Image.open(file, formats=KINDS) as picture:
            if picture.mode.startswith(("I", "F")):
                raise DataError(f"{where}: {path} has more than 8 bits; save it with 8 bits")
            yield picture
    except DataError:
        raise
    except Exception as error:  # Damaged files make Pillow's decoders raise almost anything.
        raise DataError(
            f"{where}: {path} can't be read as a picture: {error}; restore it, or delete the row"
        ) from error


def _exists(path: Path) -> bool:
    return _is(Path.is_file, path)


def _could(path: Path) -> bool:
    return _is(Path.is_dir, path.parent)


def _is(kind: Callable[[Path], bool], path: Path) -> bool:
    try:
        return kind(path)
    except OSError:  # A name too long, a folder that may not be looked into.
        return False
