"""Apply a trained network to images and clips, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image
from rich.progress import Progress

from mapdrop.localize import overlay
from mapdrop.localize.clips import Clip
from mapdrop.localize.clips.recorder import recorder
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
    """Finds joints in images and clips, and writes the results as it proceeds.

    It records images and frames that can't be read, and continues with the others.

    Attributes:
        trained: the network.
        results: where results are written; their names have been checked.
        threshold: likelihood below which joints are drawn as rings; None draws nothing.
        passes: of the network with dropout, for each joint's spread; 0 for none.
        progress: shows the progress.
        tables: the tables begun so far.
        failures: the images, frames and overlays that can't be read or written.
    """

    trained: TrainedModel
    results: ResultFolder
    threshold: float | None
    progress: Progress
    passes: int = 0
    tables: list[Path] = field(default_factory=list)
    failures: Failures = field(default_factory=Failures)

    def __call__(self, sources: Sources) -> None:
        """Find the joints in all images and clips."""
        if sources.images:
            with self.failures.recorded():
                self._write_images(sources)
        for clip in sources.clips:
            with self.failures.recorded():
                self._write_clip(sources, clip)

    def _write_images(self, sources: Sources) -> None:
        """Write one table for all images, and each image with its joints drawn on it."""
        task = self.progress.add_task("images", total=len(sources.images))
        with self._tables(TABLE, SPREAD_TABLE) as add:
            for batch in batches(sources.images):
                read = dict(self._read(batch))
                if read:
                    found = self._locate(list(read.values()), [str(path) for path in read])
                    add(found)
                    self._write_overlays(sources, read, found)
                self.progress.advance(task, len(batch))

    def _write_overlays(
        self, sources: Sources, images: dict[Path, Image.Image], found: Predictions
    ) -> None:
        if self.threshold is not None:
            for number, (path, image) in enumerate(images.items()):
                with self.failures.recorded():
                    drawn = _draw(image, found.one(number), self.threshold)
                    self.results.write(sources.overlay(path), image_files.encode_png(drawn))

    def _write_clip(self, sources: Sources, clip: Clip) -> None:
        """Write a table with a row for each frame, and a video with joints drawn on them."""
        total = clip.count() or None
        task = self.progress.add_task(printable(clip.path.name), total=total)
        rows = 0
        with (
            self._tables(sources.table(clip), sources.spread_table(clip)) as add,
            self._recorder(sources.clip_overlay(clip), clip) as write,
            self.failures.recorded(),
        ):
            for batch in batches(clip.frames()):
                names = [str(rows + number) for number in range(len(batch))]
                found = self._locate_frames(batch, names)
                add(found)
                rows += len(batch)
                if self.threshold is not None:
                    for number, image in enumerate(batch):
                        drawn = _draw(image, found.one(number), self.threshold) if image else None
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

    def _locate_frames(
        self, frames: Sequence[Image.Image | None], names: Sequence[str]
    ) -> Predictions:
        """Find the joints in a clip's frames; NaN where one can't be read."""
        found = Predictions.unread(self.trained.joints, names, self.passes > 0)
        readable = {row: frame for row, frame in enumerate(frames) if frame is not None}
        if readable:
            images = list(readable.values())
            found.fill(list(readable), self._locate(images, [names[row] for row in readable]))
        return found

    def _locate(self, images: Sequence[Image.Image], names: Sequence[str]) -> Predictions:
        """Find the joints in images in memory."""
        arrays, scales = zip(
            *(image_files.letterbox(image, self.trained.size) for image in images), strict=True
        )
        working = np.stack(arrays)
        spread = self.trained.spread(working, self.passes, SEED) if self.passes else None
        found = self.trained.locate(working)
        return Predictions.of(self.trained.joints, names, found, np.array(scales), spread)

    def _recorder(
        self, name: str, clip: Clip
    ) -> AbstractContextManager[Callable[[Image.Image | None], None]]:
        if self.threshold is None:
            return nullcontext(lambda image: None)
        return recorder(self.results.folder / name, clip.rate())


def _draw(image: Image.Image, found: Predictions, threshold: float) -> Image.Image:
    """Draw the joints on their image, the only one of `found`."""
    spread = None if found.spread is None else found.spread[0]
    points, likelihood = found.points[0], found.likelihood[0]
    return overlay.draw(image, points, likelihood, found.joints, threshold, spread)


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
