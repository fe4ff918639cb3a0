"""A trained network put to use on pictures and videos, a few at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image
from rich.progress import Progress

from mapdrop.localize import overlay, video
from mapdrop.localize.data import DataError, pictures
from mapdrop.localize.predictions import Predictions, Table
from mapdrop.localize.results import Results
from mapdrop.localize.run.trained import Trained
from mapdrop.localize.sources import TABLE, Sources
from mapdrop.system.printable import printable

AT_ONCE = 32
"""Pictures in memory at a time."""

Item = TypeVar("Item")


@dataclass(frozen=True)
class Finder:
    """Finds joints and writes what it found, as it goes.

    A picture or a video that can't be read is noted, and the others are looked at.

    Attributes:
        trained: the network.
        results: where results go; their names are claimed.
        threshold: likelihood below which joints are drawn as rings; None draws nothing.
        progress: where to show how far it is.
        tables: those begun so far; each has all rows found before whatever came.
        failures: a sentence for each picture, video or overlay that can't be read or written.
    """

    trained: Trained
    results: Results
    threshold: float | None
    progress: Progress
    tables: list[Path] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def __call__(self, sources: Sources) -> None:
        """Look at all of them."""
        if sources.pictures:
            with self._noted():
                self._pictures(sources)
        for path in sources.videos:
            with self._noted():
                self._video(sources, path)

    def _pictures(self, sources: Sources) -> None:
        """One table for all of them, and each with its joints drawn on it."""
        task = self.progress.add_task("pictures", total=len(sources.pictures))
        with self._table(TABLE) as table:
            for some in _some(sources.pictures):
                read = dict(self._read(some))
                if read:
                    found = self._found(list(read.values()), [str(path) for path in read])
                    table.add(found)
                    for path, drawn in zip(read, self._drawn(read.values(), found), strict=False):
                        with self._noted():
                            self.results.write(sources.overlay(path), _png(drawn))
                self.progress.advance(task, len(some))

    def _video(self, sources: Sources, path: Path) -> None:
        """A table with a row for each frame, and the video with joints drawn on it."""
        total = video.count(path) or None
        task = self.progress.add_task(printable(path.name), total=total)
        with (
            self._table(sources.table(path)) as table,
            self._recorder(sources.drawn(path), path) as take,
            self._noted(),
        ):
            for some in _some(video.frames(path)):
                names = [str(table.rows + number) for number in range(len(some))]
                found = self._found(some, names)
                table.add(found)
                for drawn in self._drawn(some, found):
                    take(drawn)
                self.progress.advance(task, len(some))

    @contextmanager
    def _noted(self) -> Iterator[None]:
        """Note what can't be read or written, and go on after it."""
        try:
            yield
        except (DataError, OSError) as error:
            self.failures.append(str(error))

    def _read(self, paths: Sequence[Path]) -> Iterator[tuple[Path, Image.Image]]:
        for path in paths:
            with self._noted():
                yield path, pictures.read(path, "predict")

    def _table(self, name: str) -> Table:
        table = Table(self.results, name, self.trained.joints)
        self.tables.append(table.path)
        return table

    def _found(self, read: Sequence[Image.Image], names: Sequence[str]) -> Predictions:
        """The joints in some pictures, which are in memory."""
        fitted = [pictures.fitted(picture, self.trained.size) for picture in read]
        images, scale = np.stack([image for image, _ in fitted]), np.array([s for _, s in fitted])
        return Predictions.of(self.trained.joints, names, self.trained.locate(images), scale)

    def _drawn(self, read: Iterable[Image.Image], found: Predictions) -> Iterator[Image.Image]:
        if self.threshold is not None:
            for picture, points, sure in zip(read, found.points, found.likelihood, strict=True):
                yield overlay.draw(picture, points, sure, found.joints, self.threshold)

    def _recorder(
        self, name: str, path: Path
    ) -> AbstractContextManager[Callable[[Image.Image], None]]:
        if self.threshold is None:
            return nullcontext(lambda picture: None)
        return video.recorder(self.results.folder / name, path)


def _some(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Up to AT_ONCE at a time; an error comes after all that came before it."""
    batch: list[Item] = []
    try:
        for item in items:
            batch.append(item)
            if len(batch) == AT_ONCE:
                yield batch
                batch = []
    except DataError:
        if batch:
            yield batch
        raise
    if batch:
        yield batch


def _png(picture: Image.Image) -> bytes:
    content = BytesIO()
    picture.save(content, format="PNG")
    return content.getvalue()
