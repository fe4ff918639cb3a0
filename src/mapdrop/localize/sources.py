"""The inputs of `predict`, and the names of its results."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mapdrop.localize.clips import Clip, clip_of, video
from mapdrop.localize.data import DataError, ImagesError
from mapdrop.localize.predictions import partial_name

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp", *video.KINDS)
"""Of what is taken from a folder."""
TABLE = "predictions.csv"
SPREAD_TABLE = "spread.csv"
"""The tables of all images: of points, and of how uncertain they are."""


@dataclass(frozen=True)
class Sources:
    """The images and clips to read, without duplicates, and the names of their results.

    A name is the file's path relative to the common folder of all images, or of all clips, with
    its suffix. Results append an ending to it, so that their names differ.

    Attributes:
        images: names, with `/`, by the path that the user gave.
        clips: names of videos and stacks.
    """

    images: dict[Path, str]
    clips: dict[Clip, str]

    def __len__(self) -> int:
        return len(self.images) + len(self.clips)

    @property
    def paths(self) -> list[Path]:
        """The files."""
        return [*self.images, *(clip.path for clip in self.clips)]

    @classmethod
    def of(cls, paths: Sequence[Path]) -> Sources:
        """Collect the images and clips among `paths` and in the folders among them.

        Raises:
            ImagesError: with all files that can't be read, before any result is written.
        """
        found: dict[str, Path] = {}
        problems = []
        for path in paths:
            inside = [path]
            if path.is_dir():
                inside = sorted(filter(_is_wanted, path.iterdir()))
                if not inside:
                    problems.append(f"{path}: the folder has no images or videos")
            for file in inside:
                found.setdefault(os.path.abspath(file), file)
        images: list[Path] = []
        clips: dict[Path, Clip] = {}
        for path in found.values():
            try:
                image_or_clip = clip_of(path)
            except DataError as error:
                problems.append(str(error))
                continue
            if image_or_clip is None:
                images.append(path)
            else:
                clips[path] = image_or_clip
        if problems:
            raise ImagesError(problems, len(found))
        return cls(_names(images), {clips[path]: name for path, name in _names([*clips]).items()})

    def overlay(self, path: Path) -> str:
        """Return the name of an image with joints drawn on it."""
        return f"overlays/{self.images[path]}.png"

    def table(self, clip: Clip) -> str:
        """Return the name of a clip's table."""
        return f"{self.clips[clip]}.csv"

    def spread_table(self, clip: Clip) -> str:
        """Return the name of a clip's table of spreads."""
        return f"{self.clips[clip]}-spread.csv"

    def clip_overlay(self, clip: Clip) -> str:
        """Return the name of a video of a clip with joints drawn on it."""
        return f"{self.clips[clip]}-joints.mp4"

    def output_names(self, overlays: bool, spreads: bool) -> list[str]:
        """Return the names of all results."""
        tables = [TABLE] if self.images else []
        tables += [self.table(clip) for clip in self.clips]
        if spreads:
            tables += [SPREAD_TABLE] if self.images else []
            tables += [self.spread_table(clip) for clip in self.clips]
        names = [*tables, *map(partial_name, tables)]
        if overlays:
            names += [self.overlay(path) for path in self.images]
            names += [self.clip_overlay(clip) for clip in self.clips]
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


def _is_wanted(path: Path) -> bool:
    """Return whether a folder's file is taken; macOS puts a twin `._a.jpg` beside `a.jpg`."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith("._")
