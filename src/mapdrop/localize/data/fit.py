"""From a data set on disk to what a study trains on: chosen, split, and at the working size."""

from __future__ import annotations

from dataclasses import dataclass
from operator import gt
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mapdrop.localize.data import pictures
from mapdrop.localize.data.base import DataError, KeypointData, Request
from mapdrop.localize.data.check import ImagesError, Progress, check_images
from mapdrop.localize.data.dataset import Dataset

TRAIN_SIZE, TEST_SIZE = 40, 1000
"""Images taken of a data set unless the user says otherwise; dropout matters where few train."""

VALIDATION_SHARE, VALIDATION_SIZE = 4, 200
"""Where images validate it is one in four of those that don't train, but no more than this."""


def fit(dataset: Dataset, request: Request, progress: Progress | None = None) -> KeypointData:
    """The pictures of `dataset` that `request` wants, in memory; no others are opened.

    Raises:
        DataError: when there are too few for the split.
        ImagesError: with everything that is wrong with the pictures wanted.
    """
    train, validation, test = _split(dataset, request)
    chosen = np.sort(np.concatenate([train, validation, test]))
    wanted = dataset.only(chosen.tolist())
    pictured = look(wanted, request.size or dataset.size, progress)
    return KeypointData(
        name=dataset.name,
        images=pictured.images,
        points=pictured.points,
        joints=dataset.joints,
        scale=pictured.scale,
        groups=_groups(wanted),
        train=np.searchsorted(chosen, train),
        validation=np.searchsorted(chosen, validation),
        test=np.searchsorted(chosen, test),
        radii=dataset.radii,
        unit=dataset.unit,
        limits=dataset.limits,
    )


@dataclass(frozen=True)
class Pictured:
    """Pictures in memory, with their labels.

    Attributes:
        images: (N, H, W, 3), 0 to 255, at the working size.
        points: (N, K, 2) as (x, y) in working pixels; NaN where missing.
        scale: (N,) original pixels per working pixel.
    """

    images: npt.NDArray[np.uint8]
    points: npt.NDArray[np.float64]
    scale: npt.NDArray[np.float64]


def look(dataset: Dataset, size: tuple[int, int], progress: Progress | None = None) -> Pictured:
    """Every picture of `dataset`, fitted into (width, height) `size`.

    Raises:
        ImagesError: with everything that is wrong with them.
    """
    check_images(dataset, progress)
    images, scales, points, problems = [], [], [], []
    for index in range(len(dataset)):
        try:
            picture, original = dataset[index]
        except DataError as error:
            problems.append(str(error))
            continue
        image, scale = pictures.fitted(picture, size)
        images.append(image)
        scales.append(scale)
        points.append((original + 0.5) / scale - 0.5)
        if progress is not None:
            progress("reading the images", index + 1, len(dataset))
    if problems:
        # People in one picture have one problem, their picture.
        raise ImagesError(list(dict.fromkeys(problems)), len({s.image for s in dataset.samples}))
    return Pictured(np.stack(images), np.stack(points), np.array(scales))


Indices = np.ndarray[tuple[int], np.dtype[np.intp]]


def _split(dataset: Dataset, request: Request) -> tuple[Indices, Indices, Indices]:
    """Samples to train, validate and test; people in one picture stay together."""
    rng = np.random.default_rng(request.seed)
    ours, theirs = (_images(dataset, part) for part in ("train", "test"))
    both = next((path for path in ours if path in theirs), None)
    if both is not None:
        raise DataError(f"{dataset.name}: {both} is both a training and a test image")
    if ours or theirs:
        has = f"{len(ours)} training and {len(theirs)} test"
        ours, theirs = _shuffled(ours, rng), _shuffled(theirs, rng)
        train = request.train_size or min(TRAIN_SIZE, len(ours))
        validation = _validation(request, len(ours) - train)
        parts = ours[:train], ours[train : train + validation], theirs
    else:
        order = _shuffled(_images(dataset, None), rng)
        has = f"{len(order)} labelled"
        train = request.train_size or min(TRAIN_SIZE, len(order) // 2)
        validation = _validation(request, len(order) - train)
        # The last ones validate: those that test are the same whether or not any do.
        last = max(train, len(order) - validation)
        parts = order[:train], order[last:], order[train:last]
    test = request.test_size or min(TEST_SIZE, len(parts[2]))
    wanted, there = (train, validation, test), [len(part) for part in parts]
    if min(train, test) < 1 or any(map(gt, wanted, there)):
        raise DataError(
            f"{dataset.name} has {has} images, not enough for {max(train, 1)} to train"
            + f", {validation} to validate" * bool(validation)
            + f" and {max(test, 1)} to test; use a smaller --train-size or --test-size"
        )
    first, second, third = (_samples(dataset, part) for part in (*parts[:2], parts[2][:test]))
    return first, np.sort(second), np.sort(third)


def _shuffled(images: list[Path], rng: np.random.Generator) -> list[Path]:
    return [images[index] for index in rng.permutation(len(images))]


def _validation(request: Request, left: int) -> int:
    if request.validation_size is not None:
        return request.validation_size
    return min(VALIDATION_SIZE, -(-left // VALIDATION_SHARE)) if left > 1 else 0


def _images(dataset: Dataset, part: str | None) -> list[Path]:
    """The different pictures of a part, in the order in which they first occur."""
    return list(dict.fromkeys(s.image for s in dataset.samples if s.part == part))


def _samples(dataset: Dataset, images: list[Path]) -> Indices:
    """Of these images, in their order."""
    of: dict[Path, list[int]] = {image: [] for image in images}
    for index, sample in enumerate(dataset.samples):
        if sample.image in of:
            of[sample.image].append(index)
    return np.array([index for indices in of.values() for index in indices], np.intp)


def _groups(dataset: Dataset) -> Indices:
    """Which picture each sample is of, by number."""
    numbers: dict[Path, int] = {}
    found = [numbers.setdefault(sample.image, len(numbers)) for sample in dataset.samples]
    return np.array(found, np.intp)
