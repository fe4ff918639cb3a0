"""Read image files safely, crop them, and resize them to the working size."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
from PIL import Image

from mapdrop.localize.data.base import DataError
from mapdrop.localize.data.paths import exists
from mapdrop.system.files import opened

KINDS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""The formats that Pillow may open. Others, such as EPS, would start a program."""
STACKS = ("GIF", "PNG", "TIFF", "WEBP")
"""Formats whose pages are frames. Those of a telephone's JPEG are a preview, a map of depths."""
ORIENTATION = 0x0112
"""EXIF's tag for how an image is to be turned."""
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""By orientation, what makes an image upright; from 5 on, it exchanges the sides."""


class UnsuitableError(Exception):
    """An image of a kind that isn't read. The text goes on after its name, with the remedy."""


@dataclass(frozen=True)
class ImageFile:
    """An image in a file of its own; an `ImageSource`.

    Attributes:
        path: the file, without links, inside the data folder.
    """

    path: Path

    def __str__(self) -> str:
        """Return the path."""
        return str(self.path)

    @property
    def name(self) -> str:
        """Return the file's name."""
        return self.path.name

    def read_size(self, where: str) -> tuple[int, int]:
        """Return the image's (width, height); see `read_size`."""
        return read_size(self.path, where)

    def read(self, where: str) -> Image.Image:
        """Return the image in 8-bit colour; see `read`."""
        return read(self.path, where)

    def pages(self, where: str) -> int:
        """Return the number of pages; see `pages`."""
        return pages(self.path, where)


def read_size(path: Path, where: str) -> tuple[int, int]:
    """Return the (width, height) of an image, upright, reading only the file's beginning.

    Raises:
        DataError: when the file is missing, isn't an image, or has more than 8 bits; `where` says
            where it was named.
    """
    with opened_image(path, where) as image:
        return upright_size(image)


def read(path: Path, where: str) -> Image.Image:
    """Return the image in `path`, upright and in 8-bit colour; the first page of a stack.

    Raises:
        DataError: like `read_size`, and when the image can't be decoded.
    """
    with opened_image(path, where) as image:
        return decode(image)


def pages(path: Path, where: str) -> int:
    """Return how many pages a file has: 1, unless it is a stack or an animation.

    Raises:
        DataError: like `read_size`.
    """
    with opened_image(path, where) as image, _quiet():
        if image.format not in STACKS:
            return 1
        try:
            return int(getattr(image, "n_frames", 1))
        except Exception:  # It is cut off in this page.
            return image.tell() + 1


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Return the (width, height) of an opened image, upright."""
    width, height = image.size
    return (height, width) if _orientation(image) >= 5 else (width, height)


def decode(image: Image.Image, page: int = 0) -> Image.Image:
    """Return a page of an opened image, upright and in 8-bit colour.

    Raises:
        UnsuitableError: when it has more than 8 bits.
        Exception: almost any, when it is damaged.
    """
    with _quiet():
        image.seek(page)
        check_depth(image)
        turn = TURNS.get(_orientation(image))
        colour = image.convert("RGB")
        return colour if turn is None else colour.transpose(turn)


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
def opened_image(path: Path, where: str) -> Iterator[Image.Image]:
    """Open an image; what Pillow raises in the block becomes a DataError about the file."""
    if not exists(path):
        raise DataError(f"{where}: there is no image {path}; restore it, or delete the row")
    with (
        image_errors(f"{where}: {path}", "restore it, or delete the row"),
        opened(path) as file,
        open_image(file) as image,
    ):
        check_depth(image)
        yield image


def open_image(file: IO[bytes]) -> Image.Image:
    """Open the image in a file, or in a part of one.

    Raises:
        Exception: almost any, when it is damaged.
    """
    with _quiet():
        return Image.open(file, formats=KINDS)


@contextmanager
def image_errors(image: str, remedy: str) -> Iterator[None]:
    """Make a DataError about the image of what Pillow raises in the block."""
    try:
        yield
    except Image.DecompressionBombError as error:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        raise DataError(
            f"{image} has more than {most} million pixels; reduce it, or cut it into tiles"
        ) from error
    except UnsuitableError as error:
        raise DataError(f"{image} {error}") from error
    except Exception as error:  # Pillow's decoders raise almost anything for damaged files.
        raise DataError(f"{image} can't be read as an image: {error!s:.200}; {remedy}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what Pillow warns of from the user: damaged EXIF, and large scans, which are usual here.

    Where Pillow can't go on it raises.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def check_depth(image: Image.Image) -> None:
    """Raise UnsuitableError when an image has more than 8 bits."""
    if image.mode.startswith(("I", "F")):
        raise UnsuitableError("has more than 8 bits; save it with 8 bits")


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation by which an image is still to be turned; 1 for none."""
    if image.format == "TIFF":  # Pillow turns these itself.
        return 1
    try:
        # PNG's own `getexif` would decode the whole image to look behind its pixels.
        with _quiet():
            value = Image.Image.getexif(image).get(ORIENTATION)
    except Exception:  # Damaged EXIF raises almost anything; the image can still be good.
        return 1
    return value if value in TURNS else 1
