"""Load a data set from disk into memory: choose images, split them, and resize them."""

from __future__ import annotations

from dataclasses import dataclass
from operator import gt

import numpy as np
import numpy.typing as npt

from mapdrop.localize.data import image_files
from mapdrop.localize.data.base import DataError, KeypointData, LoadOptions
from mapdrop.localize.data.check import ImagesError, ProgressCallback, check_images
from mapdrop.localize.data.dataset import Dataset, ImageSource, Points
from mapdrop.system.printable import count

TRAIN_SIZE, TEST_SIZE = 40, 1000
"""Default numbers of images; dropout matters most when few images train."""

VALIDATION_SHARE, VALIDATION_SIZE = 4, 200
"""By default one in four of the images that don't train validates, up to this number."""


def prepare(
    dataset: Dataset, options: LoadOptions, progress: ProgressCallback | None = None
) -> KeypointData:
    """Load the images of `dataset` that `options` select; no others are opened.

    Raises:
        DataError: when there are too few images for the split.
        ImagesError: with all problems of the selected images.
    """
    train, validation, test = _split(dataset, options)
    chosen = np.sort(np.concatenate([train, validation, test]))
    selected = dataset.select(chosen.tolist())
    loaded = load_images(selected, options.size or dataset.size, progress)
    return KeypointData(
        name=dataset.name,
        images=loaded.images,
        points=loaded.points,
        joints=dataset.joints,
        scale=loaded.scale,
        groups=_groups(selected),
        train=np.searchsorted(chosen, train),
        validation=np.searchsorted(chosen, validation),
        test=np.searchsorted(chosen, test),
        radii=dataset.radii,
        unit=dataset.unit,
        limits=dataset.limits,
        image_names=tuple(str(sample.image) for sample in selected.samples),
        left_out=loaded.left_out,
    )


@dataclass(frozen=True)
class LoadedImages:
    """Images in memory, with their labels.

    Attributes:
        images: (N, H, W, 3), 0 to 255, at the working size.
        points: (N, K, 2) as (x, y) in working pixels; NaN where missing.
        scale: (N,), original pixels per working pixel.
        sizes: (N, 2), original width and height in pixels.
        left_out: what was left out and why, a phrase each.
    """

    images: npt.NDArray[np.uint8]
    points: npt.NDArray[np.float64]
    scale: npt.NDArray[np.float64]
    sizes: npt.NDArray[np.intp]
    left_out: tuple[str, ...]


def load_images(
    dataset: Dataset, size: tuple[int, int], progress: ProgressCallback | None = None
) -> LoadedImages:
    """Load all images of `dataset`, resized to fit into (width, height) `size`.

    Raises:
        ImagesError: with all problems of the images.
    """
    check_images(dataset, progress)
    images, scales, points, sizes, problems = [], [], [], [], []
    outside = 0
    for index, sample in enumerate(dataset.samples):
        try:
            original, original_points = dataset[index]
        except DataError as error:
            problems.append(str(error))
            continue
        outside += _labelled(sample.points) - _labelled(original_points)
        sizes.append(original.size)
        image, scale = image_files.letterbox(original, size)
        images.append(image)
        scales.append(scale)
        points.append((original_points + 0.5) / scale - 0.5)
        if progress is not None:
            progress("reading the images", index + 1, len(dataset))
    if problems:
        # All people of one image share its problem.
        raise ImagesError(list(dict.fromkeys(problems)), len({s.image for s in dataset.samples}))
    left_out = dataset.left_out
    if outside:
        left_out = (*left_out, f"{count(outside, 'joint')} labelled outside the image")
    if pages := _other_pages(dataset):
        left_out = (*left_out, f"{count(pages, 'page')} of images after their first")
    return LoadedImages(
        np.stack(images), np.stack(points), np.array(scales), np.array(sizes), left_out
    )


def _other_pages(dataset: Dataset) -> int:
    """Return the number of pages of all images that are not read."""
    images = {sample.image: sample.where for sample in dataset.samples}
    return sum(image.pages(where) - 1 for image, where in images.items())


def _labelled(points: Points) -> int:
    return int((~np.isnan(points).any(axis=-1)).sum())


Indices = np.ndarray[tuple[int], np.dtype[np.intp]]


def _split(dataset: Dataset, options: LoadOptions) -> tuple[Indices, Indices, Indices]:
    """Return training, validation and test samples; the people of an image stay together."""
    rng = np.random.default_rng(options.seed)
    training, testing = (_images(dataset, part) for part in ("train", "test"))
    both = next((path for path in training if path in testing), None)
    if both is not None:
        raise DataError(f"{dataset.name}: {both} is both a training and a test image")
    if training or testing:
        has = f"{len(training)} training and {len(testing)} test"
        training, testing = _shuffled(training, rng), _shuffled(testing, rng)
        train = options.train_size or min(TRAIN_SIZE, len(training))
        validation = _validation(options, len(training) - train)
        parts = training[:train], training[train : train + validation], testing
    else:
        order = _shuffled(_images(dataset, None), rng)
        has = f"{len(order)} labelled"
        train = options.train_size or min(TRAIN_SIZE, len(order) // 2)
        validation = _validation(options, len(order) - train)
        # The last images validate, so that the test images don't depend on their number.
        last = max(train, len(order) - validation)
        parts = order[:train], order[last:], order[train:last]
    test = options.test_size or min(TEST_SIZE, len(parts[2]))
    sizes, available = (train, validation, test), [len(part) for part in parts]
    if min(train, test) < 1 or any(map(gt, sizes, available)):
        raise DataError(
            f"{dataset.name} has {has} images, not enough for {max(train, 1)} to train"
            + f", {validation} to validate" * bool(validation)
            + f" and {max(test, 1)} to test; use a smaller --train-size or --test-size"
        )
    first, second, third = (_samples(dataset, part) for part in (*parts[:2], parts[2][:test]))
    return first, np.sort(second), np.sort(third)


def _shuffled(images: list[ImageSource], rng: np.random.Generator) -> list[ImageSource]:
    return [images[index] for index in rng.permutation(len(images))]


def _validation(options: LoadOptions, left: int) -> int:
    if options.validation_size is not None:
        return options.validation_size
    return min(VALIDATION_SIZE, -(-left // VALIDATION_SHARE)) if left > 1 else 0


def _images(dataset: Dataset, part: str | None) -> list[ImageSource]:
    """Return the images of a part, without duplicates, in order of first occurrence."""
    return list(dict.fromkeys(s.image for s in dataset.samples if s.part == part))


def _samples(dataset: Dataset, images: list[ImageSource]) -> Indices:
    """Return the indices of these images' samples, in the images' order."""
    by_image: dict[ImageSource, list[int]] = {image: [] for image in images}
    for index, sample in enumerate(dataset.samples):
        if sample.image in by_image:
            by_image[sample.image].append(index)
    return np.array([index for indices in by_image.values() for index in indices], np.intp)


def _groups(dataset: Dataset) -> Indices:
    """Return the number of each sample's image."""
    numbers: dict[ImageSource, int] = {}
    found = [numbers.setdefault(sample.image, len(numbers)) for sample in dataset.samples]
    return np.array(found, np.intp)
