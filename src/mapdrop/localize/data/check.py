"""Check every image before training and report all problems together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mapdrop.localize.data import paths
from mapdrop.localize.data.base import DataError
from mapdrop.localize.data.dataset import Dataset, Sample
from mapdrop.localize.data.left_out import phrases
from mapdrop.system.printable import printable

ProgressCallback = Callable[[str, int, int], None]
"""Called with a task's name, the number of items done and the total."""

SHOWN = 20
"""Number of problems in a message; a longer list would scroll its beginning off the screen."""


class ImagesError(DataError):
    """Raised when images can't be used.

    Attributes:
        problems: one sentence for each, with the row that names the image. The message lists the
            first ones and gives their number.
    """

    def __init__(self, problems: Sequence[str], images: int) -> None:
        self.problems: tuple[str, ...] = tuple(problems)
        # One line each, because a file's name may have line breaks.
        lines = [printable(problem) for problem in self.problems[:SHOWN]]
        if len(self.problems) > 1:
            lines.insert(0, f"{len(self.problems)} problems with {images} images:")
        if len(self.problems) > SHOWN:
            lines.append(f"... and {len(self.problems) - SHOWN} more")
        super().__init__("\n".join(lines))


def check_images(dataset: Dataset, progress: ProgressCallback | None = None) -> None:
    """Check that each image exists, is an image, and matches its labels.

    Only the beginning of each file is read, which takes seconds where decoding takes minutes. A
    truncated image is found when it is decoded.

    Raises:
        ImagesError: with all problems of all images.
    """
    problems = []
    groups = group_by_image(dataset)
    for done, samples in enumerate(groups, start=1):
        try:
            size = samples[0].image.read_size(samples[0].where)
        except DataError as error:
            problems.append(str(error))
        else:
            problems.extend(_label_problems(dataset, samples, size))
        if progress is not None:
            progress("checking the images", done, len(groups))
    if problems:
        raise ImagesError(problems, len(groups))


def only_labelled(dataset: Dataset, source: Path) -> Dataset:
    """Return a data set, read from `source`, without the samples that have no labelled joint.

    Raises:
        DataError: when none has one.
    """
    labelled = [not np.isnan(sample.points).all() for sample in dataset.samples]
    if not any(labelled):
        raise DataError(f"{source}: no image has a label; label some images first")
    kept = dataset.select(np.flatnonzero(labelled).tolist())
    without = phrases({"without a label": labelled.count(False)}, "sample")
    return replace(kept, left_out=(*dataset.left_out, *without))


def only_existing(dataset: Dataset) -> Dataset:
    """Return a data set without the labels whose image does not exist, as of deleted frames.

    Raises:
        DataError: when no image exists.
    """
    images = {sample.image: paths.exists(sample.image.path) for sample in dataset.samples}
    kept = [index for index, sample in enumerate(dataset.samples) if images[sample.image]]
    missing = list(images.values()).count(False)
    if not kept:
        first = dataset.samples[0]
        raise DataError(
            f"{dataset.name}: none of its {missing} images exists, the first is {first.image}; "
            "restore them"
        )
    gone = phrases({"whose file is missing": missing}, "image")
    return replace(dataset.select(kept), left_out=(*dataset.left_out, *gone))


def group_by_image(dataset: Dataset) -> list[list[Sample]]:
    """Return the samples of each image, with images in order of first occurrence."""
    groups: dict[object, list[Sample]] = {}
    for sample in dataset.samples:
        groups.setdefault(sample.image, []).append(sample)
    return list(groups.values())


def _label_problems(
    dataset: Dataset, samples: Sequence[Sample], size: tuple[int, int]
) -> list[str]:
    problems = []
    for sample in samples:
        try:
            dataset.resolve_labels(sample, size)
        except DataError as error:
            problems.append(str(error))
    return problems
