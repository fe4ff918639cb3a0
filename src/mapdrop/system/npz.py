"""Read .npz files of unknown origin: what a member says of itself is checked before it is read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import IO, Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

SMALL = 1 << 20
"""Bytes of a member that only a forgery exceeds, unless more is expected of it."""


class Npz:
    """The arrays of an open .npz file, each read when it is asked for.

    Every method raises some exception (of zipfile, zlib, NumPy, ...) for a damaged file.
    """

    def __init__(self, file: IO[bytes]) -> None:
        if file.read(4) != b"PK\x03\x04":
            raise ValueError("it is no .npz file")
        self._zip = ZipFile(file)
        self.names: list[str] = [name.removesuffix(".npy") for name in self._zip.namelist()]
        if len(set(self.names)) < len(self.names):
            twice = next(name for name in self.names if self.names.count(name) > 1)
            raise ValueError(f"{twice!r} is in it twice")

    def read(
        self, name: str, dtype: str, *shapes: Sequence[int | None], most: int = SMALL
    ) -> NDArray[Any]:
        """Return the array of this name, which must have the dtype and one of the shapes.

        Args:
            name: its name, without ".npy".
            dtype: as NumPy writes it, "<f8"; "U" for text of any length.
            shapes: the shapes it may have; None stands for any size.
            most: the bytes that it may take.
        """
        info = self._zip.getinfo(f"{name}.npy")
        if info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
            raise ValueError(f"{name} is compressed by another method than NumPy's")
        with self._zip.open(info) as member:
            found, came = _header(member)
            expected = found.kind == "U" if dtype == "U" else found == np.dtype(dtype)
            if not expected or not any(_fits(came, shape) for shape in shapes):
                wanted = " or ".join(str(tuple(shape)).replace("None", "n") for shape in shapes)
                raise ValueError(f"{name} is {found}{came}, expected {_named(dtype)}{wanted}")
            size = found.itemsize * math.prod(came)
            if size > most:
                raise ValueError(f"{name} has {size} bytes, at most {most} are read")
            if info.file_size != member.tell() + size:
                raise ValueError(f"{name} has {info.file_size} bytes, which its shape denies")
        with self._zip.open(info) as member:
            return npy.read_array(member, allow_pickle=False)


def _header(member: IO[bytes]) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Return the dtype and the shape that an array says it has."""
    version = npy.read_magic(member)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"an array is of format {version}")
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(member)
    if dtype.hasobject or min(shape, default=0) < 0:
        raise ValueError(f"an array is {dtype}{shape}")
    return dtype, shape


def _fits(shape: tuple[int, ...], expected: Sequence[int | None]) -> bool:
    return len(shape) == len(expected) and all(
        wanted in (None, size) for size, wanted in zip(shape, expected, strict=True)
    )


def _named(dtype: str) -> str:
    return "text" if dtype == "U" else str(np.dtype(dtype))
