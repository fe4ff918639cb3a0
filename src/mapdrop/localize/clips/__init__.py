"""Clips: files of several frames, which are videos and stacks of pages."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Protocol

from PIL import Image

from mapdrop.localize.clips.stack import Stack
from mapdrop.localize.clips.video import KINDS, Video
from mapdrop.localize.data import image_files


class Clip(Protocol):
    """Frames in one file. A frame's number is its place among them, from 0."""

    @property
    def path(self) -> Path:
        """The file."""

    def frames(self) -> Iterator[Image.Image | None]:
        """Yield the frames in colour, one at a time; None for one that can't be read.

        Raises:
            DataError: after the last frame, when some can't be read; with their numbers.
        """

    def count(self) -> int:
        """Return about how many frames there are; 0 where the file doesn't say.

        Raises:
            DataError: when it can't be read.
        """

    def rate(self) -> Fraction | None:
        """Return the frames per second; None where the file doesn't say."""


def clip_of(path: Path) -> Clip | None:
    """Return the clip in a file; None if it has a single image.

    Raises:
        DataError: when it can't be read.
    """
    if path.suffix.lower() in KINDS:
        Video(path).count()
        return Video(path)
    return Stack(path) if image_files.pages(path, "predict") > 1 else None
