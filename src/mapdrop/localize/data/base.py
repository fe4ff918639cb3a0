"""Labelled pictures, whatever file format they came from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mapdrop.localize.errors import LocalizeError
from mapdrop.localize.scores import distinct


class DataError(LocalizeError):
    """The data can't be used as it is. The message names the place and the remedy."""


@dataclass(frozen=True)
class KeypointData:
    """Pictures with the places of `joints` in them, split in three.

    Attributes:
        name: what the report calls it.
        images: (N, H, W, 3), 0 to 255, at the working size.
        points: (N, K, 2) as (x, y) in working pixels, pixel centres at integers; NaN where missing.
        joints: K different names.
        scale: (N,) original pixels per working pixel. Errors are reported in original pixels.
        train, validation, test: indices into images; no index is in two of them. Those of `train`
            are in the order drawn: its beginning is a smaller training set.
        groups: (N,) which picture each is of; several people may be in one.
        radii: two radii in original pixels at which PCK is worth reading.
        unit: what an original pixel is, for the report.
        limits: one sentence on what this data cannot show.
    """

    name: str
    images: npt.NDArray[np.uint8]
    points: npt.NDArray[np.float64]
    joints: tuple[str, ...]
    scale: npt.NDArray[np.float64]
    groups: npt.NDArray[np.intp]
    train: npt.NDArray[np.intp]
    validation: npt.NDArray[np.intp]
    test: npt.NDArray[np.intp]
    radii: tuple[float, float]
    unit: str
    limits: str

    def __post_init__(self) -> None:
        try:
            distinct(self.joints)
        except ValueError as problem:
            raise DataError(f"{self.name}: {problem}; choose others with --bodyparts") from problem
        parts = {"training": self.train, "validation": self.validation, "test": self.test}
        for part, indices in parts.items():
            if part == "validation" and not len(indices):
                continue
            unlabelled = np.isnan(self.points[indices]).any(axis=-1).all(axis=0)
            if unlabelled.any():
                joint = self.joints[int(np.argmax(unlabelled))]
                raise DataError(
                    f"{self.name}: none of the {len(indices)} {part} images has {joint!r} "
                    "labelled; label more images, or leave it out with --bodyparts"
                )

    def smaller(self, size: int) -> npt.NDArray[np.intp]:
        """Indices of the first `size` training images: each training set holds the smaller ones.

        Raises:
            DataError: when there are fewer.
        """
        first = list(dict.fromkeys(self.groups[self.train]))
        if not 1 <= size <= len(first):
            raise DataError(f"{self.name} has {len(first)} training images, asked for {size}")
        return self.train[np.isin(self.groups[self.train], first[:size])]


@dataclass(frozen=True)
class Request:
    """What the user asked of the data; None takes the format's own default.

    Attributes:
        train_size, validation_size, test_size: numbers of images. One that shows several people
            counts once, and all of them go with it. Unless asked for nothing validates.
        bodyparts: names of the joints wanted, in this order.
        size: (width, height) in pixels that pictures are fitted into.
        seed: decides everything that is drawn: the split, the scenes.
    """

    train_size: int | None = None
    validation_size: int | None = 0
    test_size: int | None = None
    bodyparts: tuple[str, ...] | None = None
    size: tuple[int, int] | None = None
    seed: int = 0
