"""A trained network put to use on pictures and videos, a few at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image
from rich.progress import Progress

from mapdrop.localize import overlay, video
from mapdrop.localize.data import DataError, ImagesError, pictures
from mapdrop.localize.predictions import Predictions
from mapdrop.localize.run.folder import write
from mapdrop.localize.run.trained import Trained

AT_ONCE = 32
"""Pictures in memory at a time."""

Item = TypeVar("Item")
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")


def sources(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """The pictures and the videos among `paths`; of folders, the pictures in them.

    Raises:
        ImagesError: with all that can't be read, before anything is done.
    """
    found: dict[Path, None] = {}
    problems = []
    for path in paths:
        inside = [path]
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
            if not inside:
                problems.append(f"{path}: there is no picture in this folder")
        found.update(dict.fromkeys(inside))
    for path in found:
        try:
            _looked_at(path)
        except DataError as error:
            problems.append(str(error))
    if problems:
        raise ImagesError(problems, len(found))
    videos = [path for path in found if path.suffix.lower() in video.KINDS]
    return [path for path in found if path not in videos], videos


def _looked_at(path: Path) -> None:
    if path.suffix.lower() in video.KINDS:
        if not path.is_file():
            raise DataError(f"{path}: there is no such video")
        video.count(path)
    else:
        pictures.header(path, "predict")


@dataclass(frozen=True)
class Finder:
    """Finds joints and writes what it found into a folder.

    Attributes:
        trained: the network.
        out: the folder.
        threshold: likelihood below which joints are drawn as rings; None draws nothing.
        progress: where to show how far it is.
    """

    trained: Trained
    out: Path
    threshold: float | None
    progress: Progress

    def pictures(self, paths: Sequence[Path]) -> Path:
        """One table for all of them, and each with its joints drawn on it."""
        task = self.progress.add_task("pictures", total=len(paths))
        places = dict(zip(paths, _places(paths), strict=True))
        parts = []
        for some in _some(paths):
            read = [pictures.read(path, "predict") for path in some]
            parts.append(self.found(read, [str(path) for path in some]))
            for path, drawn in zip(some, self._drawn(read, parts[-1]), strict=False):
                _save(self.out / "overlays" / places[path], drawn)
            self.progress.advance(task, len(some))
        return self._write("predictions.csv", parts)

    def video(self, path: Path) -> Path:
        """A table with a row for each frame, and the video with joints drawn on it."""
        task = self.progress.add_task(path.name, total=video.count(path) or None)
        parts: list[Predictions] = []
        with self._recorder(path) as take:
            for some in _some(video.frames(path)):
                first = sum(len(part.names) for part in parts)
                names = [str(first + number) for number in range(len(some))]
                parts.append(self.found(some, names))
                for drawn in self._drawn(some, parts[-1]):
                    take(drawn)
                self.progress.advance(task, len(some))
        return self._write(f"{path.stem}.csv", parts)

    def found(self, read: Sequence[Image.Image], names: Sequence[str]) -> Predictions:
        """The joints in some pictures, which are in memory."""
        fitted = [pictures.fitted(picture, self.trained.size) for picture in read]
        images, scale = np.stack([image for image, _ in fitted]), np.array([s for _, s in fitted])
        return Predictions.of(self.trained.joints, names, self.trained.locate(images), scale)

    def _drawn(self, read: Sequence[Image.Image], found: Predictions) -> Iterator[Image.Image]:
        if self.threshold is not None:
            for picture, points, sure in zip(read, found.points, found.likelihood, strict=True):
                yield overlay.draw(picture, points, sure, found.joints, self.threshold)

    def _recorder(self, path: Path) -> AbstractContextManager[Callable[[Image.Image], None]]:
        if self.threshold is None:
            return nullcontext(lambda picture: None)
        return video.recorder(self.out / f"{path.stem}-joints.mp4", path)

    def _write(self, name: str, parts: Sequence[Predictions]) -> Path:
        path = self.out / name
        joined = Predictions(
            self.trained.joints,
            tuple(name for part in parts for name in part.names),
            np.concatenate([part.points for part in parts]),
            np.concatenate([part.likelihood for part in parts]),
        )
        joined.write(path)
        return path


def _some(items: Iterable[Item]) -> Iterator[list[Item]]:
    rest = iter(items)
    while some := list(islice(rest, AT_ONCE)):
        yield some


def _places(paths: Sequence[Path]) -> list[str]:
    """Names for their overlays: below the folder that they have in common."""
    whole = [path.resolve() for path in paths]
    root = os.path.commonpath([path.parent for path in whole])
    names = [path.relative_to(root).as_posix() for path in whole]
    return [name if name.endswith(".png") else f"{name}.png" for name in names]


def _save(path: Path, picture: Image.Image) -> None:
    content = BytesIO()
    picture.save(content, format="PNG")
    write(path, content.getvalue())
