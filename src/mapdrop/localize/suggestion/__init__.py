"""Choose the images and frames to label next: uncertain ones that are unlike each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from sklearn.cluster import KMeans

from mapdrop.localize.data import image_files
from mapdrop.localize.failures import Failures
from mapdrop.localize.predictions import Predictions
from mapdrop.localize.predictor import SEED, batches
from mapdrop.localize.run.images import digest
from mapdrop.localize.run.trained import TrainedModel
from mapdrop.localize.sources import Sources

LOOK = (32, 24)
"""Size to which images are reduced, to say how unlike they are."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """An image, or a frame of a video.

    Attributes:
        source: the file.
        frame: its number in a video or stack, from 0; None for an image.
        found: the joints in it.
        look: the image, small and grey, as a vector.
    """

    source: Path
    frame: int | None
    found: Predictions
    look: npt.NDArray[np.float64]

    @property
    def spread(self) -> float:
        """How uncertain it is: the mean of the joints' spreads, in its pixels."""
        assert self.found.spread is not None
        return float(self.found.spread.mean())


@dataclass(frozen=True)
class Search:
    """Looks through images and clips, past what can't be read.

    Attributes:
        trained: the network.
        passes: with dropout, for each image.
        most: so many frames of a clip, at most, which are evenly spaced.
        on_image: called for each image or frame that was looked at.
        failures: the images and frames that can't be read.
    """

    trained: TrainedModel
    passes: int
    most: int
    on_image: Callable[[], None] = lambda: None
    failures: Failures = field(default_factory=Failures)

    def __call__(self, sources: Sources) -> Iterator[Candidate]:
        """Yield the candidates: no images that the network was trained on."""
        for batch in batches(self._images(sources)):
            yield from self._candidates(batch)

    def total(self, sources: Sources) -> int:
        """Return about how many images and frames there are to look at."""
        frames = (clip.count() for clip in sources.clips)
        return len(sources.images) + sum(min(self.most, count) for count in frames)

    def _images(self, sources: Sources) -> Iterator[tuple[Path, int | None, Image.Image]]:
        for path in sources.images:
            with self.failures.recorded():
                yield path, None, image_files.read(path, "suggest")
        for clip in sources.clips:
            with self.failures.recorded():
                step = max(1, -(-clip.count() // self.most))
                for number, image in enumerate(clip.frames()):
                    if number % step == 0 and image is not None:
                        yield clip.path, number, image

    def _candidates(
        self, batch: Sequence[tuple[Path, int | None, Image.Image]]
    ) -> Iterator[Candidate]:
        trained, known = self.trained, self.trained.record.seen
        arrays, scales = zip(
            *(image_files.letterbox(image, trained.size) for *_, image in batch), strict=True
        )
        working = np.stack(arrays)
        spread = trained.spread(working, self.passes, SEED)
        found = trained.locate(working)
        names = [str(number) for number in range(len(batch))]
        every = Predictions.of(trained.joints, names, found, np.array(scales), spread)
        seen = {one for digests in known.values() for one in digests}
        for number, (path, frame, image) in enumerate(batch):
            self.on_image()
            if digest(working[number]) not in seen:
                yield Candidate(path, frame, every.one(number), _look(image))


def _look(image: Image.Image) -> npt.NDArray[np.float64]:
    small = np.asarray(image.convert("L").resize(LOOK, Image.Resampling.BOX), np.float64)
    return small.ravel() / 255


def choose(candidates: Sequence[Candidate], count: int) -> list[Candidate]:
    """Return so many candidates, the most uncertain first; all of them if there are no more.

    The more uncertain half falls into clusters of images that look alike (k-means); of each the
    most uncertain one is chosen.
    """
    ranked = sorted(candidates, key=lambda candidate: -candidate.spread)
    if len(ranked) <= count:
        return ranked
    uncertain = ranked[: max(count, len(ranked) // 2)]
    looks = np.stack([candidate.look for candidate in uncertain])
    clusters = min(count, len(np.unique(looks, axis=0)))
    labels = KMeans(clusters, n_init=4, random_state=SEED).fit_predict(looks)
    first = {int(label): n for n, label in reversed(list(enumerate(labels)))}
    chosen = sorted(first.values())
    # Fewer clusters than asked for: images that look the same.
    rest = (n for n in range(len(uncertain)) if n not in first.values())
    chosen += [n for n, _ in zip(rest, range(count - len(chosen)), strict=False)]
    return [uncertain[n] for n in sorted(chosen)]
