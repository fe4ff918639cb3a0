"""From a data set on disk to what a study trains on: chosen, split, and at the working size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mapdrop.localize.data import pictures
from mapdrop.localize.data.base import DataError, KeypointData, Request
from mapdrop.localize.data.check import ImagesError, Progress, check_images
from mapdrop.localize.data.dataset import Dataset

TRAIN_SIZE, TEST_SIZE = 40, 1000
"""Images taken of a data set unless the user says otherwise; dropout matters where few train."""


def fit(dataset: Dataset, request: Request, progress: Progress | None = None) -> KeypointData:
    """The pictures of `dataset` that `request` wants, in memory; no others are opened.

    Raises:
        DataError: when there are too few for the split.
        ImagesError: with everything that is wrong with the pictures wanted.
    """
    train, test = _split(dataset, request)
    chosen = np.sort(np.concatenate([train, test]))
    wanted = dataset.only(chosen.tolist())
    pictured = look(wanted, request.size or dataset.size, progress)
    return KeypointData(
        name=dataset.name,
        images=pictured.images,
        points=pictured.points,
        joints=dataset.joints,
        scale=pictured.scale,
        train=np.searchsorted(chosen, train),
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


def _split(dataset: Dataset, request: Request) -> tuple[Indices, Indices]:
    """Samples to train and to test. People in one picture stay together, or the test would leak."""
    rng = np.random.default_rng(request.seed)
    ours, theirs = (_images(dataset, part) for part in ("train", "test"))
    if ours or theirs:
        both = next((path for path in ours if path in theirs), None)
        if both is not None:
            raise DataError(f"{dataset.name}: {both} is both a training and a test image")
        train = request.train_size or min(TRAIN_SIZE, len(ours))
        test = request.test_size or min(TEST_SIZE, len(theirs))
        _enough(
            dataset,
            f"{len(ours)} training and {len(theirs)} test",
            train,
            test,
            train <= len(ours) and test <= len(theirs),
        )
        first, second = rng.permutation(len(ours))[:train], rng.permutation(len(theirs))[:test]
        return _samples(dataset, ours, first), _samples(dataset, theirs, second)
    images = _images(dataset, None)
    count = len(images)
    train = request.train_size or min(TRAIN_SIZE, count // 2)
    test = request.test_size or min(TEST_SIZE, count - train)
    _enough(dataset, f"{count} labelled", train, test, train + test <= count)
    order = rng.permutation(count)
    return (
        _samples(dataset, images, order[:train]),
        _samples(dataset, images, order[train : train + test]),
    )


def _enough(dataset: Dataset, has: str, train: int, test: int, fits: bool) -> None:
    if train < 1 or test < 1 or not fits:
        raise DataError(
            f"{dataset.name} has {has} images, not enough for {max(train, 1)} to train and "
            f"{max(test, 1)} to test; use a smaller --train-size or --test-size"
        )


def _images(dataset: Dataset, part: str | None) -> list[Path]:
    """The different pictures of a part, in the order in which they first occur."""
    return list(dict.fromkeys(s.image for s in dataset.samples if s.part == part))


def _samples(dataset: Dataset, images: list[Path], chosen: Indices) -> Indices:
    wanted = {images[index] for index in chosen}
    return np.array([i for i, s in enumerate(dataset.samples) if s.image in wanted], np.intp)
