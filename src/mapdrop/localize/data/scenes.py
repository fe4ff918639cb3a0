"""Generate scenes of real handwritten digits on real photographs, without a download.

The digits are scikit-learn's `load_digits` (1797 scans, Alpaydin and Kaynak 1998), the photographs
its two sample images. The selected digits are the joints, each once in every scene; some others are
distractors. Training, validation and test scenes use different scans and different parts of the
photographs, so that memorising them does not help.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import rotate, zoom
from sklearn.datasets import load_digits, load_sample_images

from mapdrop.localize.data.base import DataError, KeypointData, LoadOptions

DEFAULT_DIGITS = ("0", "1", "2")
DISTRACTORS = 2
SIZE, SMALLEST = (96, 96), 64
TRAIN_SIZE, VALIDATION_SIZE, TEST_SIZE = 32, 64, 128
RADII = (4.0, 8.0)
MARGIN, SPACING = 13.0, 22.0
"""Least distance of a digit's centre from the border, and from another centre, in pixels."""

Image = npt.NDArray[np.float64]
"""(height, width, 3), 0 to 255."""
Scans = dict[str, npt.NDArray[np.float64]]
"""The scans of each digit, (n, 8, 8); 0 is paper and 1 is ink."""


def load(options: LoadOptions) -> KeypointData:
    """Generate scenes, determined by `options` alone.

    Raises:
        DataError: for joints that aren't digits, or images too small to hold them.
    """
    joints, size = _joints(options), options.size or SIZE
    if min(size) < SMALLEST:
        raise DataError(f"scenes need at least {SMALLEST}x{SMALLEST} pixels, got --size {size}")
    images, points = [], []
    validate = VALIDATION_SIZE if options.validation_size is None else options.validation_size
    counts = (options.train_size or TRAIN_SIZE, options.test_size or TEST_SIZE, validate)
    for part, count in enumerate(counts):
        # Each part has its own generator, so test scenes don't depend on the training size.
        rng = np.random.default_rng([options.seed, part])
        scans, photographs = _scans(part), _photographs(part, size)
        for _ in range(count):
            image, centres = _scene(rng, scans, photographs, size, joints)
            images.append(image)
            points.append(centres)
    train, test, validation = np.split(np.arange(sum(counts)), np.cumsum(counts[:-1]))
    return KeypointData(
        name="scenes",
        images=np.stack(images),
        points=np.stack(points),
        joints=joints,
        scale=np.ones(sum(counts)),
        groups=np.arange(sum(counts)),
        train=train,
        validation=validation,
        test=test,
        radii=RADII,
        unit=f"pixels of the {size[0]}x{size[1]} scene",
        limits="The digits and the photographs are real; putting one on the other is not.",
        image_names=tuple(f"scene {index}" for index in range(sum(counts))),
    )


def _joints(options: LoadOptions) -> tuple[str, ...]:
    joints = options.bodyparts or DEFAULT_DIGITS
    for joint in joints:
        if joint not in set("0123456789"):
            raise DataError(f"scenes have the digits 0 to 9, not {joint!r}: --bodyparts 0,1,2")
        if joints.count(joint) > 1:
            raise DataError(f"{joint!r} is selected twice; each scene has it once, so name it once")
    return joints


def _scans(part: int) -> Scans:
    """Return the scans of a part, by digit.

    Of each digit every second scan is for training (part 0); the others alternate between testing
    (1) and validation (2).
    """
    bunch, chosen = load_digits(), (slice(0, None, 2), slice(1, None, 4), slice(3, None, 4))[part]
    return {str(digit): bunch.images[bunch.target == digit][chosen] / 16.0 for digit in range(10)}


def _photographs(part: int, size: tuple[int, int]) -> list[Image]:
    """Return the area of each photograph that belongs to a part.

    The left half is for training (part 0), the lower right quarter for testing (1), the upper right
    quarter for validation (2).
    """
    chosen = []
    for photograph in load_sample_images().images:
        middle, centre = photograph.shape[0] // 2, photograph.shape[1] // 2
        right = photograph[:, centre:]
        areas = (photograph[:, :centre], right[middle:], right[:middle])
        # The smallest area limits the size of all scenes.
        height, width = (min(area.shape[axis] for area in areas) for axis in (0, 1))
        if height < size[1] or width < size[0]:
            raise DataError(f"scenes are at most {width}x{height} pixels, got --size {size}")
        chosen.append(areas[part].astype(np.float64))
    return chosen


def _scene(
    rng: np.random.Generator,
    scans: Scans,
    photographs: list[Image],
    size: tuple[int, int],
    joints: tuple[str, ...],
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64]]:
    """Return a scene, and the centres of its selected digits, (K, 2)."""
    image = _background(rng, photographs, size)
    others = [digit for digit in "0123456789" if digit not in joints]
    distractors = rng.choice(others, min(DISTRACTORS, len(others)), replace=False)
    digits = [*joints, *(str(digit) for digit in distractors)]
    centres = _centres(rng, len(digits), size)
    for digit, centre in zip(digits, centres, strict=True):
        _draw(rng, image, scans[digit][rng.integers(len(scans[digit]))], centre)
    return np.rint(image).clip(0, 255).astype(np.uint8), centres[: len(joints)]


def _background(rng: np.random.Generator, photographs: list[Image], size: tuple[int, int]) -> Image:
    """Cut a random window out of one of the photographs, mirrored half of the time."""
    photograph = photographs[rng.integers(len(photographs))]
    top = rng.integers(photograph.shape[0] - size[1] + 1)
    left = rng.integers(photograph.shape[1] - size[0] + 1)
    window = photograph[top : top + size[1], left : left + size[0]]
    return (window[:, ::-1] if rng.random() < 0.5 else window).copy()


def _centres(
    rng: np.random.Generator, count: int, size: tuple[int, int]
) -> npt.NDArray[np.float64]:
    """Draw (count, 2) centres at sufficient distance from the border and from each other."""
    low, high = MARGIN, np.subtract(size, 1 + MARGIN)
    for _ in range(100):
        centres: list[npt.NDArray[np.float64]] = []
        for candidate in rng.uniform(low, high, (50 * count, 2)):
            if all(np.linalg.norm(candidate - centre) >= SPACING for centre in centres):
                centres.append(candidate)
            if len(centres) == count:
                return np.stack(centres)
    raise DataError(
        f"{count} digits don't fit into {size[0]}x{size[1]} pixels; use a larger --size"
    )


def _draw(
    rng: np.random.Generator,
    image: Image,
    scan: npt.NDArray[np.float64],
    centre: npt.NDArray[np.float64],
) -> None:
    """Draw one scan on the image as a slip of paper, randomly scaled, tilted and tinted.

    The slip is aligned to whole pixels; `centre` is updated in place to its actual centre.
    """
    ink = zoom(np.pad(scan, 1), rng.uniform(2.2, 2.6), order=1)
    ink = rotate(ink, rng.uniform(-10, 10), reshape=False, order=1).clip(0, 1)[..., None]
    side = ink.shape[0]
    left, top = np.rint(centre - (side - 1) / 2).astype(int)
    centre[:] = left + (side - 1) / 2, top + (side - 1) / 2
    paper, pen = rng.uniform(190, 255, 3), rng.uniform(0, 80, 3)
    image[top : top + side, left : left + side] = paper + ink * (pen - paper)
