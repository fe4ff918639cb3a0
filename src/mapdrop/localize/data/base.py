"""Labelled images in memory, independent of the file format."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mapdrop.localize.errors import LocalizeError
from mapdrop.localize.scores import unique_names


class DataError(LocalizeError):
    """Raised for data that can't be used. The message names the position and the remedy."""


@dataclass(frozen=True)
class KeypointData:
    """Images with the positions of `joints`, split in three.

    Attributes:
        name: the data set's name in reports.
        images: (N, H, W, 3), 0 to 255, at the working size.
        points: (N, K, 2) as (x, y) in working pixels, pixel centres at integers; NaN where missing.
        joints: K different names.
        scale: (N,), original pixels per working pixel. Errors are reported in original pixels.
        train, validation, test: disjoint indices of images. Those of `train` are in random order,
            so that its beginning is a smaller training set.
        groups: (N,), numbers of the image files; several people may be in one.
        radii: two radii in original pixels at which to report PCK.
        unit: what an original pixel is, for reports.
        limits: one sentence on what this data cannot show.
        image_names: (N,), the image of each; several people may be in one.
        left_out: what was left out and why, a phrase each: "3 annotations of crowds".
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
    image_names: tuple[str, ...]
    left_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        try:
            unique_names(self.joints)
        except ValueError as problem:
            raise DataError(f"{self.name}: {problem}; choose others with --bodyparts") from problem
        unlabelled = self._unlabelled(self.train)
        if unlabelled.any():
            joint = self.joints[int(np.argmax(unlabelled))]
            raise DataError(
                f"{self.name}: none of the {len(self.train)} training images has {joint!r} "
                "labelled; label more images, or leave it out with --bodyparts"
            )
        # A joint that others lack is trained, and has no metric there.
        for part, indices in (("validation", self.validation), ("test", self.test)):
            if len(indices) and self._unlabelled(indices).all():
                raise DataError(
                    f"{self.name}: none of the {len(indices)} {part} images has a label; label "
                    f"more images, or use a larger --{part}-size"
                )

    def _unlabelled(self, indices: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
        """Return (K,), whether none of the images has the joint."""
        return np.asarray(np.isnan(self.points[indices]).any(axis=-1).all(axis=0))

    def training_subset(self, size: int) -> npt.NDArray[np.intp]:
        """Return the indices of the first `size` training images; smaller subsets are nested.

        Raises:
            DataError: when there are fewer.
        """
        first = list(dict.fromkeys(self.groups[self.train]))
        if not 1 <= size <= len(first):
            raise DataError(
                f"{self.name} has {len(first)} training images, not {size}; "
                "use another --train-size"
            )
        return self.train[np.isin(self.groups[self.train], first[:size])]


@dataclass(frozen=True)
class LoadOptions:
    """Options of `load`; None means the format's default.

    Attributes:
        train_size, validation_size, test_size: numbers of images. An image of several people counts
            once, and all of them belong to its part. By default no images validate.
        bodyparts: names of the joints to use, in this order.
        size: (width, height) of the working images in pixels.
        seed: determines the split, and the content of the scenes.
        coordinates: "pixels" or "fractions" of the image's size; None asks where that is unclear.
        skip_missing: whether to leave out labels whose image does not exist.
    """

    train_size: int | None = None
    validation_size: int | None = 0
    test_size: int | None = None
    bodyparts: tuple[str, ...] | None = None
    size: tuple[int, int] | None = None
    seed: int = 0
    coordinates: str | None = None
    skip_missing: bool = False
