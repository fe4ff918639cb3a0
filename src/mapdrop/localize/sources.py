"""The inputs of `predict`, and the names of its results."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mapdrop.localize import video
from mapdrop.localize.data import DataError, ImagesError, image_files
from mapdrop.localize.predictions import partial_name

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
TABLE = "predictions.csv"
SPREAD_TABLE = "spread.csv"
"""The tables of all images: of points, and of how uncertain they are."""


@dataclass(frozen=True)
class Sources:
    """The images and videos to read, without duplicates, and the names of their results.

    A name is the file's path relative to the common folder of all images, or of all videos, with
    its suffix. Results append an ending to it, so that their names differ.

    Attributes:
        images, videos: names, with `/`, by the path that the user gave.
    """

    images: dict[Path, str]
    videos: dict[Path, str]

    @classmethod
    def of(cls, paths: Sequence[Path]) -> Sources:
        """Collect the images and videos among `paths`, and the images in folders among them.

        Raises:
            ImagesError: with all files that can't be read, before any result is written.
        """
        found: dict[str, Path] = {}
        problems = []
        for path in paths:
            inside = [path]
            if path.is_dir():
                inside = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
                if not inside:
                    problems.append(f"{path}: the folder has no images")
            for file in inside:
                found.setdefault(os.path.abspath(file), file)
        for path in found.values():
            try:
                _check_readable(path)
            except DataError as error:
                problems.append(str(error))
        if problems:
            raise ImagesError(problems, len(found))
        videos = [path for path in found.values() if _is_video(path)]
        return cls(_names([path for path in found.values() if not _is_video(path)]), _names(videos))

    def overlay(self, path: Path) -> str:
        """Return the name of an image with joints drawn on it."""
        return f"overlays/{self.images[path]}.png"

    def table(self, path: Path) -> str:
        """Return the name of a video's table."""
        return f"{self.videos[path]}.csv"

    def spread_table(self, path: Path) -> str:
        """Return the name of a video's table of spreads."""
        return f"{self.videos[path]}-spread.csv"

    def video_overlay(self, path: Path) -> str:
        """Return the name of a video with joints drawn on it."""
        return f"{self.videos[path]}-joints.mp4"

    def output_names(self, overlays: bool, spreads: bool) -> list[str]:
        """Return the names of all results."""
        tables = [TABLE] if self.images else []
        tables += [self.table(path) for path in self.videos]
        if spreads:
            tables += [SPREAD_TABLE] if self.images else []
            tables += [self.spread_table(path) for path in self.videos]
        names = [*tables, *map(partial_name, tables)]
        if overlays:
            names += [self.overlay(path) for path in self.images]
            names += [self.video_overlay(path) for path in self.videos]
        return names


def _names(paths: Sequence[Path]) -> dict[Path, str]:
    if not paths:
        return {}
    absolute = [os.path.abspath(path) for path in paths]
    try:
        root = os.path.commonpath([os.path.dirname(file) for file in absolute])
    except ValueError as error:
        raise DataError("the files are on several drives; predict one at a time") from error
    return {
        path: Path(os.path.relpath(file, root)).as_posix()
        for path, file in zip(paths, absolute, strict=True)
    }


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in video.KINDS


def _check_readable(path: Path) -> None:
    if _is_video(path):
        video.count(path)
    else:
        image_files.read_size(path, "predict")
