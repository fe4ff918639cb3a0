"""What every reader returns: the labels, with pictures that are opened when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from mapdrop.localize.data import pictures
from mapdrop.localize.data.base import DataError

Points = npt.NDArray[np.float64]
"""(K, 2) as (x, y) in pixels, pixel centres at integers; NaN where a joint is missing."""

Joints = tuple[str, ...]

LARGEST = 1e6
"""Pixels that a box may reach beyond its picture."""


@dataclass(frozen=True)
class Sample:
    """One labelled person, animal or thing in one picture. The picture need not exist.

    Attributes:
        image: the picture's file, without links, inside the data folder.
        where: the file and row (or annotation) of the label, for messages.
        points: (K, 2) in the picture's pixels.
        box: (left, top, right, bottom) of the part of the picture to look at; None is all of it.
        size: the (width, height) that the labels say the picture has; None if they don't.
        part: where the data set itself puts it; None leaves that to a random split.
    """

    image: Path
    where: str
    points: Points
    box: tuple[float, float, float, float] | None = None
    size: tuple[int, int] | None = None
    part: Literal["train", "test"] | None = None

    def __post_init__(self) -> None:
        # Not finite is not within, too: sums of huge numbers become that.
        if self.box is not None and not all(-LARGEST <= edge <= LARGEST for edge in self.box):
            box = ", ".join(f"{edge:g}" for edge in self.box)
            raise DataError(
                f"{self.where}: the box's edges ({box}) should be pixels of the picture, within "
                f"{LARGEST:g} of its corner; correct it"
            )


@dataclass(frozen=True)
class Dataset:
    """Samples of one data set. `dataset[i]` opens a picture, nothing else does.

    A joint labelled outside its picture, by more than the pixel of a click on the very edge, is an
    error where whoever has the file can correct it: a swapped x and y, or labels made on pictures
    of another size, show themselves so. The published .mat files have such joints (MPII's 2958
    validation people have 32 at negative places) and nobody edits them: there a joint that can't be
    seen is missing.

    Attributes:
        name: what a report calls it.
        joints: K names, as the data set spells them.
        samples: in the order of the file. None is without any labelled joint.
        limits: one sentence on what this data cannot show.
        size: (width, height) that pictures are fitted into unless the user wishes another.
        outside_is_missing: whether a joint outside its picture is missing instead of an error.
        radii: two radii in original pixels at which PCK is worth reading.
        unit: what an original pixel is.
    """

    name: str
    joints: Joints
    samples: tuple[Sample, ...]
    limits: str
    size: tuple[int, int] = (160, 120)
    outside_is_missing: bool = False
    radii: tuple[float, float] = (10.0, 20.0)
    unit: str = "pixels of the original picture"

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Image.Image, Points]:
        """The picture of one sample, cut to its box, and its points in the pixels of that cut.

        A joint of the picture that the box cuts off keeps its place, outside: it counts as missed.

        Raises:
            DataError: when the picture can't be read, or doesn't fit its labels.
        """
        sample = self.samples[index]
        picture = pictures.read(sample.image, sample.where)
        box, points = self.placed(sample, picture.size)
        return picture.crop(box), points - box[:2]

    def placed(
        self, sample: Sample, size: tuple[int, int]
    ) -> tuple[tuple[int, int, int, int], Points]:
        """A sample's box in whole pixels and its points, in a picture of (width, height) `size`.

        Raises:
            DataError: when the labels can't be of a picture of this size.
        """
        name, is_ = sample.image.name, f"which is {size[0]}x{size[1]}"
        if sample.size not in (None, size):
            width, height = sample.size or size
            raise DataError(
                f"{sample.where}: {name}, {is_}, was labelled as {width}x{height}; "
                "restore the picture that was labelled"
            )
        box = pictures.clipped(sample.box, size)
        if box[0] >= box[2] or box[1] >= box[3]:
            raise DataError(
                f"{sample.where}: the box {sample.box} lies outside {name}, {is_}; correct it"
            )
        outside = np.any((sample.points < -1) | (sample.points > size), axis=1)
        if outside.any() and not self.outside_is_missing:
            x, y = sample.points[outside][0]
            raise DataError(
                f"{sample.where}: ({x:g}, {y:g}) lies outside {name}, {is_}; correct the label, or "
                "mark the joint as missing"
            )
        return box, np.where(outside[:, None], np.nan, sample.points)

    def only(self, indices: Sequence[int]) -> Dataset:
        """The same data set with these samples."""
        return replace(self, samples=tuple(self.samples[index] for index in indices))


@dataclass(frozen=True)
class Format:
    """One kind of file or folder with labels.

    Attributes:
        looks_like: what it is known by, for messages.
        recognises: whether this path is meant for this format; it may still be broken.
        read: the labels of the joints asked for, in that order (None is all), or DataError.
    """

    looks_like: str
    recognises: Callable[[Path], bool]
    read: Callable[[Path, Joints | None], Dataset]


def labelled(samples: Sequence[Sample], place: Path) -> tuple[Sample, ...]:
    """Those with at least one joint.

    Raises:
        DataError: when there are none in `place`.
    """
    kept = tuple(sample for sample in samples if not np.isnan(sample.points).all())
    if not kept:
        raise DataError(f"{place}: no image has a label; label some images first")
    return kept
