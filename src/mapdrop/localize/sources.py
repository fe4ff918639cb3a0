"""The inputs of `predict`, and the names of its results."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mapdrop.localize.clips import Clip, clip_of, video
from mapdrop.localize.data import DataError, ImagesError
from mapdrop.localize.data.paths import is_hidden
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
        unread: the files of folders that can't be read, and a sentence on each.
    """

    images: dict[Path, str]
    clips: dict[Clip, str]
    unread: dict[Path, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.images) + len(self.clips) + len(self.unread)

    @property
    def paths(self) -> list[Path]:
        """The files."""
        return [*self.images, *(clip.path for clip in self.clips), *self.unread]

    @classmethod
    def of(cls, paths: Sequence[Path]) -> Sources:
        """Collect the images and clips among `paths` and in the folders among them.

        Raises:
            ImagesError: with all `paths` that can't be read, before any result is written; of a
                folder, when nothing in it can be.
        """
        found: dict[str, tuple[Path, Clip | None]] = {}
        unread: dict[str, tuple[Path, str]] = {}
        problems: list[str] = []
        for path in paths:
            is_folder = path.is_dir()
            files = _inside(path) if is_folder else [path]
            if not files:
                problems.append(f"{path}: the folder has no images or videos")
            read, failed = _read(files)
            for file, clip in read.items():
                found.setdefault(os.path.abspath(file), (file, clip))
            if is_folder and read:
                unread |= {os.path.abspath(file): (file, why) for file, why in failed.items()}
            else:
                problems += failed.values()
        if problems:
            raise ImagesError(problems, len(found) + len(problems) + len(unread))
        clips = {path: clip for path, clip in found.values() if clip is not None}
        names = _names([*clips])
        return cls(
            _names([path for path, clip in found.values() if clip is None]),
            {clip: names[path] for path, clip in clips.items()},
            dict(unread.values()),
        )

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


def _inside(folder: Path) -> list[Path]:
    """Return a folder's images and videos."""
    files = sorted(folder.iterdir())
    return [file for file in files if file.suffix.lower() in SUFFIXES and not is_hidden(file)]


def _read(files: Sequence[Path]) -> tuple[dict[Path, Clip | None], dict[Path, str]]:
    """Return the files that can be read, with the clip in each, and why the others can't be."""
    read: dict[Path, Clip | None] = {}
    failed: dict[Path, str] = {}
    for file in files:
        try:
            read[file] = clip_of(file)
        except DataError as error:
            failed[file] = str(error)
        except ModuleNotFoundError as error:  # A video needs PyAV, of which images know nothing.
            failed[file] = f'{file}: {error.name} is not installed: pip install "mapdrop[video]"'
    return read, failed


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
