"""What `predict` looks at, and the names of its results."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mapdrop.localize import video
from mapdrop.localize.data import DataError, ImagesError, pictures
from mapdrop.localize.predictions import unfinished

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
TABLE = "predictions.csv"
"""Of all the pictures."""


@dataclass(frozen=True)
class Sources:
    """Pictures and videos, each once, and what their results are called.

    A name is the path below the folder that all pictures, or all videos, have in common, with the
    whole file name. Results add an ending to it, so that no two are called alike.

    Attributes:
        pictures, videos: the names, with `/`, by the path as the user gave it.
    """

    pictures: dict[Path, str]
    videos: dict[Path, str]

    @classmethod
    def of(cls, paths: Sequence[Path]) -> Sources:
        """Return the pictures and videos among `paths`; of folders, the pictures in them.

        Raises:
            ImagesError: with all that can't be read, before anything is done.
        """
        found: dict[str, Path] = {}
        problems = []
        for path in paths:
            inside = [path]
            if path.is_dir():
                inside = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
                if not inside:
                    problems.append(f"{path}: there is no picture in this folder")
            for file in inside:
                found.setdefault(os.path.abspath(file), file)
        for path in found.values():
            try:
                _looked_at(path)
            except DataError as error:
                problems.append(str(error))
        if problems:
            raise ImagesError(problems, len(found))
        films = [path for path in found.values() if _is_video(path)]
        return cls(_names([path for path in found.values() if not _is_video(path)]), _names(films))

    def overlay(self, picture: Path) -> str:
        """Return the name of a picture with joints drawn on it."""
        return f"overlays/{self.pictures[picture]}.png"

    def table(self, film: Path) -> str:
        """Return the name of a video's table."""
        return f"{self.videos[film]}.csv"

    def drawn(self, film: Path) -> str:
        """Return the name of a video with joints drawn on it."""
        return f"{self.videos[film]}-joints.mp4"

    def results(self, overlays: bool) -> list[str]:
        """Return the names of all that is written."""
        tables = [TABLE] if self.pictures else []
        tables += [self.table(film) for film in self.videos]
        names = [*tables, *map(unfinished, tables)]
        if overlays:
            names += [self.overlay(picture) for picture in self.pictures]
            names += [self.drawn(film) for film in self.videos]
        return names


def _names(paths: Sequence[Path]) -> dict[Path, str]:
    if not paths:
        return {}
    places = [os.path.abspath(path) for path in paths]
    try:
        root = os.path.commonpath([os.path.dirname(place) for place in places])
    except ValueError as error:
        raise DataError("the files are on several drives; predict one at a time") from error
    return {
        path: Path(os.path.relpath(place, root)).as_posix()
        for path, place in zip(paths, places, strict=True)
    }


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in video.KINDS


def _looked_at(path: Path) -> None:
    if _is_video(path):
        video.count(path)
    else:
        pictures.header(path, "predict")
