"""Every picture looked at before training starts, and all that is wrong told at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mapdrop.localize.data import pictures
from mapdrop.localize.data.base import DataError
from mapdrop.localize.data.dataset import Dataset, Sample
from mapdrop.system.printable import printable

Progress = Callable[[str, int, int], None]
"""Told what is being done, and how many of how many are done."""

SHOWN = 20
"""Problems in a message; a list of thousands would push its own beginning off the screen."""


class ImagesError(DataError):
    """Some pictures can't be used.

    Attributes:
        problems: one sentence for each, with the row that names the picture. The message has the
            first of them, and how many there are.
    """

    def __init__(self, problems: Sequence[str], images: int) -> None:
        self.problems = tuple(problems)
        # One line each: a file's name may have line breaks.
        lines = [printable(problem) for problem in self.problems[:SHOWN]]
        if len(self.problems) > 1:
            lines.insert(0, f"{len(self.problems)} problems with {images} images:")
        if len(self.problems) > SHOWN:
            lines.append(f"... and {len(self.problems) - SHOWN} more")
        super().__init__("\n".join(lines))


def check_images(dataset: Dataset, progress: Progress | None = None) -> None:
    """Looks whether each picture is there, is one, and fits what is said of it.

    Only the beginning of each file is read, so that this takes seconds where decoding would take
    minutes: a picture that was cut short is found when it is decoded.

    Raises:
        ImagesError: with all problems of all pictures.
    """
    problems = []
    owners = by_image(dataset)
    for done, samples in enumerate(owners, start=1):
        try:
            size = pictures.header(samples[0].image, samples[0].where)
        except DataError as error:
            problems.append(str(error))
        else:
            problems.extend(_misfits(dataset, samples, size))
        if progress is not None:
            progress("checking the images", done, len(owners))
    if problems:
        raise ImagesError(problems, len(owners))


def by_image(dataset: Dataset) -> list[list[Sample]]:
    """The samples of each picture, pictures in the order in which they first occur."""
    owners: dict[object, list[Sample]] = {}
    for sample in dataset.samples:
        owners.setdefault(sample.image, []).append(sample)
    return list(owners.values())


def _misfits(dataset: Dataset, samples: Sequence[Sample], size: tuple[int, int]) -> list[str]:
    problems = []
    for sample in samples:
        try:
            dataset.placed(sample, size)
        except DataError as error:
            problems.append(str(error))
    return problems
