"""Images inside a SLEAP package: PNG or JPEG files as rows of an HDF5 array.

video0/video          a file a row, or plain frames (N, H, W, C)
video0/frame_numbers  which frame of the video each is
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from mapdrop.localize.data import image_files
from mapdrop.localize.data.base import DataError
from mapdrop.localize.data.hdf5 import opened_hdf5, read_hdf5

if TYPE_CHECKING:
    import h5py

Values = npt.NDArray[np.generic]

BLUE_FIRST = 1.4
"""Packages before this version of the format had blue and red exchanged, if they don't say."""


@dataclass(frozen=True)
class EmbeddedImage:
    """A frame in a package; an `ImageSource`.

    Attributes:
        path: the package, without links.
        array: the name of the array in it.
        number: the frame's number in the video from which it was taken.
    """

    path: Path
    array: str
    number: int

    def __str__(self) -> str:
        """Return the path, the array and the number."""
        return f"{self.path}:{self.array}:{self.number}"

    @property
    def name(self) -> str:
        """Return the file's name and the number."""
        return f"frame {self.number} in {self.path.name}"

    def read_size(self, where: str) -> tuple[int, int]:
        """Return the image's (width, height), without decoding it.

        Raises:
            DataError: when it is missing or can't be read; `where` says where it was named.
        """
        with self._opened(where) as (image, _):
            return image_files.upright_size(image)

    def pages(self, where: str) -> int:
        """Return 1."""
        return 1

    def read(self, where: str) -> Image.Image:
        """Return the image in 8-bit colour.

        Raises:
            DataError: like `read_size`, and when the image can't be decoded.
        """
        with self._opened(where) as (image, is_blue_first):
            colour = image_files.decode(image)
        return Image.merge("RGB", colour.split()[::-1]) if is_blue_first else colour

    @contextmanager
    def _opened(self, where: str) -> Iterator[tuple[Image.Image, bool]]:
        """Open the image, and say whether blue and red are exchanged in it."""
        found = read_hdf5(read_stored, "h5py", self.path, self.array, self.number)
        if found is None:
            raise DataError(f"{where}: the package has no image of it; export it again")
        values, is_blue_first = found
        is_plain = values.ndim == 3
        with image_files.image_errors(f"{where}: {self.name}", "export it again"):
            if is_plain:
                image = Image.fromarray(values.squeeze())
            else:
                image = image_files.open_image(BytesIO(values.tobytes()))
            with image:
                image_files.check_depth(image)
                yield image, is_blue_first and not is_plain


def read_stored(path: Path, array: str, number: int) -> tuple[Values, bool] | None:
    """Return what is stored of a frame, and whether it has blue and red exchanged; or nothing.

    For `read_hdf5`.
    """
    with opened_hdf5(path) as file:
        rows = file[array]
        numbers = list(range(len(rows)))
        if "frame_numbers" in rows.parent:
            numbers = rows.parent["frame_numbers"][()].tolist()
        if number not in numbers:
            return None
        return np.asarray(rows[numbers.index(number)]), _is_blue_first(file, rows)


def _is_blue_first(file: h5py.File, array: h5py.Dataset) -> bool:
    """Return whether what a file's decoder calls red is blue: OpenCV wrote it from RGB."""
    order = array.attrs.get("channel_order")
    if order is None:
        return float(file["metadata"].attrs.get("format_id", BLUE_FIRST)) < BLUE_FIRST
    return (order.decode() if isinstance(order, bytes) else str(order)) == "BGR"
