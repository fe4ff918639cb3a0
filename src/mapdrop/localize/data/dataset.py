"""The labels that every reader returns; images are opened on access."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from mapdrop.localize.data import image_files
from mapdrop.localize.data.base import DataError

Points = npt.NDArray[np.float64]
"""(K, 2) as (x, y) in pixels, pixel centres at integers; NaN where a joint is missing."""

Joints = tuple[str, ...]

Box = tuple[float, float, float, float]
"""(left, top, right, bottom)."""

NEAR = 0.05
"""Fraction of an image's side by which a joint may lie outside; it is missing then."""

LARGEST = 1e6
"""Pixels that a box may extend beyond its image."""


class ImageSource(Protocol):
    """Where an image is: a file, or a frame in one. Equal ones are the same image.

    `str` of it is its name in results.
    """

    @property
    def path(self) -> Path:
        """Return the file that holds it."""

    @property
    def name(self) -> str:
        """Return a short name, for messages."""

    def read_size(self, where: str) -> tuple[int, int]:
        """Return the image's (width, height), reading as little as possible.

        Raises:
            DataError: when it is missing or can't be read; `where` says where it was named.
        """

    def read(self, where: str) -> Image.Image:
        """Return the image in 8-bit colour.

        Raises:
            DataError: like `read_size`, and when the image can't be decoded.
        """

    def pages(self, where: str) -> int:
        """Return the number of pages, of which only the first is read.

        Raises:
            DataError: like `read_size`.
        """

    def __hash__(self) -> int: ...


@dataclass(frozen=True)
class Sample:
    """One labelled person, animal or thing in one image. The image need not exist.

    Attributes:
        image: the image.
        where: the label's file and row (or annotation), for messages.
        points: (K, 2) in the image's pixels.
        box: (left, top, right, bottom) of the crop; None means the full image.
        size: the image's (width, height) according to the labels; None if they don't say.
        part: the part that the data set assigns it to; None means a random split.
    """

    image: ImageSource
    where: str
    points: Points
    box: Box | None = None
    size: tuple[int, int] | None = None
    part: Literal["train", "test"] | None = None

    def __post_init__(self) -> None:
        # This also rejects edges that aren't finite, as sums of huge numbers may be.
        if self.box is not None and not all(-LARGEST <= edge <= LARGEST for edge in self.box):
            box = ", ".join(f"{edge:g}" for edge in self.box)
            raise DataError(
                f"{self.where}: the box's edges ({box}) should be pixels of the image, within "
                f"{LARGEST:g} of its corner; correct it"
            )


@dataclass(frozen=True)
class Dataset:
    """The samples of one data set. Only `dataset[i]` opens an image.

    A joint labelled far outside its image is usually an error that the user can correct: x and y
    are swapped, or images of another size were labelled. One that is a little outside, as by a
    click at the edge, is missing. The published .mat files also have joints far outside (32 among
    MPII's 2958 validation people), and nobody edits them: there, they are missing too.

    Attributes:
        name: the data set's name in reports.
        joints: K names, as the data set spells them.
        samples: in the order of the file; each has a labelled joint.
        limits: one sentence on what this data cannot show.
        size: default (width, height) of the working images.
        outside_is_missing: whether a joint far outside its image is missing rather than an error.
        radii: two radii in original pixels at which to report PCK.
        unit: what an original pixel is.
        fractions: whether points and boxes are fractions of the image's width and height.
        left_out: what a reader left out and why, a phrase each: "3 annotations of crowds".
    """

    name: str
    joints: Joints
    samples: tuple[Sample, ...]
    limits: str
    size: tuple[int, int] = (160, 120)
    outside_is_missing: bool = False
    radii: tuple[float, float] = (10.0, 20.0)
    unit: str = "pixels of the original picture"
    fractions: bool = False
    left_out: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Image.Image, Points]:
        """Return one sample's image, cropped to its box, and its points in pixels of the crop.

        A joint that the box cuts off keeps its position outside the crop, and counts as a miss.

        Raises:
            DataError: when the image can't be read, or doesn't match its labels.
        """
        sample = self.samples[index]
        image = sample.image.read(sample.where)
        box, points = self.resolve_labels(sample, image.size)
        # Pillow would take a copy, and warn of one that is large.
        part = image if box == (0, 0, *image.size) else image.crop(box)
        return part, points - box[:2]

    def resolve_labels(
        self, sample: Sample, size: tuple[int, int]
    ) -> tuple[tuple[int, int, int, int], Points]:
        """Return a sample's box in whole pixels, and its points.

        Args:
            sample: one of the samples.
            size: the actual (width, height) of its image.

        Raises:
            DataError: when the labels don't match an image of this size.
        """
        name = f"{sample.image.name}, which is {size[0]}x{size[1]}"
        if sample.size not in (None, size):
            width, height = sample.size or size
            raise DataError(
                f"{sample.where}: {name}, was labelled as {width}x{height}; "
                "restore the image that was labelled"
            )
        edges, points = self._in_pixels(sample, size)
        box = image_files.clip_box(edges, size)
        if box[0] >= box[2] or box[1] >= box[3]:
            raise DataError(f"{sample.where}: the box {sample.box} lies outside {name}; correct it")
        beyond = np.maximum(-1 - points, points - size)
        far = np.any(beyond > np.multiply(NEAR, size), axis=1)
        if far.any() and not self.outside_is_missing:
            x, y = sample.points[far][0]
            raise DataError(
                f"{sample.where}: ({x:g}, {y:g}) lies outside {name}; correct the label, or "
                "mark the joint as missing"
            )
        outside = np.any(beyond > 0, axis=1, keepdims=True)
        return box, np.where(outside, np.nan, points)

    def _in_pixels(self, sample: Sample, size: tuple[int, int]) -> tuple[Box | None, Points]:
        """Return a sample's box and points in pixels of an image of this size."""
        if not self.fractions:
            return sample.box, sample.points
        width, height = size
        left, top, right, bottom = sample.box or (0.0, 0.0, 1.0, 1.0)
        box = (left * width, top * height, right * width, bottom * height)
        # A pixel's centre has a whole number: 0 is the image's edge, half a pixel before the first.
        return sample.box and box, sample.points * size - 0.5

    def select(self, indices: Sequence[int]) -> Dataset:
        """Return the data set with only these samples."""
        return replace(self, samples=tuple(self.samples[index] for index in indices))


@dataclass(frozen=True)
class Format:
    """A file format of labels.

    Attributes:
        looks_like: its description, for messages.
        recognises: tells whether a path has this format; the file may still be damaged.
        read: returns the labels of the given joints, in that order (None means all), or raises
            DataError.
    """

    looks_like: str
    recognises: Callable[[Path], bool]
    read: Callable[[Path, Joints | None], Dataset]
