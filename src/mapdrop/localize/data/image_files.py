"""Read image files safely, crop them, and resize them to the working size."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from mapdrop.localize.data.base import DataError
from mapdrop.system.files import opened

KINDS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""The formats that Pillow may open. Others, such as EPS, would start a program."""


def resolve_inside(root: Path, path: Path, where: str) -> Path:
    """Return `path` with its links resolved.

    Raises:
        DataError: when the result is outside `root`, or the path is invalid; `where` says where the
            path was named.
    """
    try:
        real = path.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # Long names, loops of links, zero bytes.
        raise DataError(
            f"{where}: {str(path)!r:.200} is not a path: {error}; correct it"
        ) from error
    if not real.is_relative_to(root.resolve()):
        raise DataError(f"{where}: {path} lies outside the data folder {root}; move it there")
    return real


def find(root: Path, name: str, folders: Sequence[str], where: str) -> Path:
    """Return the path of the image `name` in the first of the `folders` of `root` that has it.

    If none has it, return its path in the first folder that exists, for the error message.

    Raises:
        DataError: when the name leads out of `root`.
    """
    name = name.replace("\\", "/")
    if not name.strip():
        raise DataError(f"{where}: the image's name is empty; fill it in, or delete the label")
    paths = [resolve_inside(root, root / folder / name, where) for folder in folders]
    found = (path for exists in (_exists, _has_folder) for path in paths if exists(path))
    return next(found, paths[0])


def read_size(path: Path, where: str) -> tuple[int, int]:
    """Return the (width, height) of an image, reading only the file's beginning.

    Raises:
        DataError: when the file is missing, isn't an image, or has more than 8 bits; `where` says
            where it was named.
    """
    with _opened(path, where) as image:
        return image.size


def read(path: Path, where: str) -> Image.Image:
    """Return the image in `path`, in 8-bit colour.

    Raises:
        DataError: like `read_size`, and when the image can't be decoded.
    """
    with _opened(path, where) as image:
        return image.convert("RGB")


def clip_box(
    box: tuple[float, float, float, float] | None, size: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Widen a box to whole pixels and clip it to an image of (width, height) `size`."""
    if box is None:
        return 0, 0, *size
    left, top, right, bottom = np.clip(box, 0, (*size, *size)).tolist()
    return math.floor(left), math.floor(top), math.ceil(right), math.ceil(bottom)


def letterbox(image: Image.Image, size: tuple[int, int]) -> tuple[npt.NDArray[np.uint8], float]:
    """Resize an image to fit into (width, height), padded with black at the right and bottom.

    Returns:
        (height, width, 3), and the number of original pixels per working pixel. A point p of the
        original lies at (p + 0.5) / scale - 0.5.
    """
    scale = max(image.width / size[0], image.height / size[1])
    # Only whole working pixels: a remainder at the right or bottom edge is cut off.
    width = max(1, int(image.width / scale + 1e-9))
    height = max(1, int(image.height / scale + 1e-9))
    box = (0, 0, min(width * scale, image.width), min(height * scale, image.height))
    small = image.resize((width, height), Image.Resampling.BOX, box=box)
    canvas = np.zeros((size[1], size[0], 3), np.uint8)
    canvas[:height, :width] = np.asarray(small)
    return canvas, scale


Array = npt.NDArray[np.float64]


def encode_png(image: Image.Image) -> bytes:
    """Return the content of a PNG file."""
    content = BytesIO()
    image.save(content, format="PNG")
    return content.getvalue()


def to_original(points: Array, scale: float | Array) -> Array:
    """Convert points of the working image to original pixels; `scale` is that of `letterbox`."""
    return (points + 0.5) * scale - 0.5


@contextmanager
def _opened(path: Path, where: str) -> Iterator[Image.Image]:
    if not _exists(path):
        raise DataError(f"{where}: there is no image {path}; restore it, or delete the row")
    try:
        with opened(path) as file, Image.open(file, formats=KINDS) as image:
            if image.mode.startswith(("I", "F")):
                raise DataError(f"{where}: {path} has more than 8 bits; save it with 8 bits")
            yield image
    except DataError:
        raise
    except Exception as error:  # Pillow's decoders raise almost anything for damaged files.
        raise DataError(
            f"{where}: {path} can't be read as an image: {error}; restore it, or delete the row"
        ) from error


def _exists(path: Path) -> bool:
    return _is(Path.is_file, path)


def _has_folder(path: Path) -> bool:
    return _is(Path.is_dir, path.parent)


def _is(kind: Callable[[Path], bool], path: Path) -> bool:
    try:
        return kind(path)
    except OSError:  # A long name, or a folder without permission.
        return False
