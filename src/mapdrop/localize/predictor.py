"""Apply a trained network to images and videos, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image
from rich.progress import Progress

from mapdrop.localize import overlay, video
from mapdrop.localize.data import DataError, image_files
from mapdrop.localize.failures import Failures
from mapdrop.localize.predictions import SPREAD, Predictions, TableWriter
from mapdrop.localize.results import ResultFolder
from mapdrop.localize.run.trained import TrainedModel
from mapdrop.localize.sources import SPREAD_TABLE, TABLE, Sources
from mapdrop.system.printable import printable

BATCH_SIZE = 32
"""Images in memory at a time."""
SEED = 0
"""Of the masks by which spreads are found: the same command has the same result."""

Item = TypeVar("Item")


@dataclass(frozen=True)
class Predictor:
    """Finds joints in images and videos, and writes the results as it proceeds.

    It records images and videos that can't be read, and continues with the others.

    Attributes:
        trained: the network.
        results: where results are written; their names have been checked.
        threshold: likelihood below which joints are drawn as rings; None draws nothing.
        passes: of the network with dropout, for each joint's spread; 0 for none.
        progress: shows the progress.
        tables: the tables begun so far.
        failures: the images, videos and overlays that can't be read or written.
    """

    trained: TrainedModel
    results: ResultFolder
    threshold: float | None
    progress: Progress
    passes: int = 0
    tables: list[Path] = field(default_factory=list)
    failures: Failures = field(default_factory=Failures)

    def __call__(self, sources: Sources) -> None:
        """Find the joints in all images and videos."""
        if sources.images:
            with self.failures.recorded():
                self._write_images(sources)
        for path in sources.videos:
            with self.failures.recorded():
                self._write_video(sources, path)

    def _write_images(self, sources: Sources) -> None:
        """Write one table for all images, and each image with its joints drawn on it."""
        task = self.progress.add_task("images", total=len(sources.images))
        with self._tables(TABLE, SPREAD_TABLE) as add:
            for batch in batches(sources.images):
                read = dict(self._read(batch))
                if read:
                    found = self._locate(list(read.values()), [str(path) for path in read])
                    add(found)
                    for path, drawn in zip(read, self._draw(read.values(), found), strict=False):
                        with self.failures.recorded():
                            self.results.write(sources.overlay(path), image_files.encode_png(drawn))
                self.progress.advance(task, len(batch))

    def _write_video(self, sources: Sources, path: Path) -> None:
        """Write a table with a row for each frame, and the video with joints drawn on it."""
        total = video.count(path) or None
        task = self.progress.add_task(printable(path.name), total=total)
        rows = 0
        with (
            self._tables(sources.table(path), sources.spread_table(path)) as add,
            self._recorder(sources.video_overlay(path), path) as write,
            self.failures.recorded(),
        ):
            for batch in batches(video.frames(path)):
                names = [str(rows + number) for number in range(len(batch))]
                found = self._locate(batch, names)
                add(found)
                rows += len(batch)
                for drawn in self._draw(batch, found):
                    write(drawn)
                self.progress.advance(task, len(batch))

    def _read(self, paths: Sequence[Path]) -> Iterator[tuple[Path, Image.Image]]:
        for path in paths:
            with self.failures.recorded():
                yield path, image_files.read(path, "predict")

    @contextmanager
    def _tables(self, points: str, spreads: str) -> Iterator[Callable[[Predictions], None]]:
        """Write a table of points and, if there are passes for it, one of their spreads."""
        with ExitStack() as stack:

            def table(name: str, *coords: tuple[str, ...]) -> TableWriter:
                made = TableWriter(self.results, name, self.trained.joints, *coords)
                self.tables.append(made.path)
                return stack.enter_context(made)

            of_points = table(points)
            of_spreads = table(spreads, SPREAD) if self.passes else None

            def add(found: Predictions) -> None:
                of_points.add(found.names, found.values)
                if of_spreads is not None and found.spread is not None:
                    of_spreads.add(found.names, found.spread[..., None])

            yield add

    def _locate(self, images: Sequence[Image.Image], names: Sequence[str]) -> Predictions:
        """Find the joints in images in memory."""
        arrays, scales = zip(
            *(image_files.letterbox(image, self.trained.size) for image in images), strict=True
        )
        working = np.stack(arrays)
        spread = self.trained.spread(working, self.passes, SEED) if self.passes else None
        found = self.trained.locate(working)
        return Predictions.of(self.trained.joints, names, found, np.array(scales), spread)

    def _draw(self, images: Iterable[Image.Image], found: Predictions) -> Iterator[Image.Image]:
        if self.threshold is not None:
            for number, image in enumerate(images):
                points, scores = found.points[number], found.likelihood[number]
                spread = None if found.spread is None else found.spread[number]
                yield overlay.draw(image, points, scores, found.joints, self.threshold, spread)

    def _recorder(
        self, name: str, path: Path
    ) -> AbstractContextManager[Callable[[Image.Image], None]]:
        if self.threshold is None:
            return nullcontext(lambda image: None)
        return video.recorder(self.results.folder / name, path)


def batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Yield batches of up to BATCH_SIZE items; an error is raised after the items before it."""
    batch: list[Item] = []
    try:
        for item in items:
            batch.append(item)
            if len(batch) == BATCH_SIZE:
                yield batch
                batch = []
    except DataError:
        if batch:
            yield batch
        raise
    if batch:
        yield batch
