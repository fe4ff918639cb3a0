"""Load the images of a run into memory: those to train on, to validate with, and to test on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mapdrop.localize.data import (
    DataError,
    Dataset,
    KeypointData,
    LoadOptions,
    ProgressCallback,
    load,
    read,
)
from mapdrop.localize.data.prepare import load_images
from mapdrop.localize.run.settings import DataSettings

Indices = npt.NDArray[np.intp]


@dataclass(frozen=True)
class LabelledImages:
    """Labelled images at the working size.

    Attributes:
        name: the data set's name in reports.
        joints: K names.
        images: (N, H, W, 3), 0 to 255.
        points: (N, K, 2) as (x, y) in working pixels; NaN where missing.
        scale: (N,), original pixels per working pixel.
        sizes: (N, 2), original width and height in pixels.
        image_names: (N,), the image of each; several people may be in one.
        radii: two radii in original pixels at which to report PCK.
        unit: what an original pixel is.
        limits: one sentence on what this data cannot show.
        left_out: what was left out and why, a phrase each.
    """

    name: str
    joints: tuple[str, ...]
    images: npt.NDArray[np.uint8]
    points: npt.NDArray[np.float64]
    scale: npt.NDArray[np.float64]
    sizes: npt.NDArray[np.intp]
    image_names: tuple[str, ...]
    radii: tuple[float, float]
    unit: str
    limits: str
    left_out: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> tuple[int, int]:
        """Return the (width, height) of the working images."""
        return self.images.shape[2], self.images.shape[1]

    @property
    def tensors(self) -> tuple[Tensor, Tensor]:
        """Return images (N, 3, H, W), 0 to 255 and channels last in memory, and points."""
        return to_tensor(self.images), torch.from_numpy(self.points).float()

    def select(self, indices: Indices) -> LabelledImages:
        """Return some of the images."""
        return replace(
            self,
            images=self.images[indices],
            points=self.points[indices],
            scale=self.scale[indices],
            sizes=self.sizes[indices],
            image_names=tuple(self.image_names[index] for index in indices),
        )

    def digests(self) -> list[str]:
        """Return a 16-byte hash of each image's pixels, which identifies it wherever it is."""
        return [digest(image) for image in self.images]


def digest(image: npt.NDArray[np.uint8]) -> str:
    """Return a 16-byte hash of a working image's pixels."""
    return blake2b(image.tobytes(), digest_size=16).hexdigest()


def to_tensor(images: npt.NDArray[np.uint8]) -> Tensor:
    """Convert images (N, H, W, 3) to (N, 3, H, W), channels last in memory."""
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def load_training(
    settings: DataSettings, progress: ProgressCallback | None = None
) -> tuple[LabelledImages, LabelledImages]:
    """Load the images to train on and to validate with, without the data set's test images.

    Raises:
        DataError: when the data can't be used, or has too few images.
    """
    found = _load(settings, progress, for_training=True)
    rng = np.random.default_rng(settings.seed)
    image_names = list(dict.fromkeys(found.image_names))
    count = settings.train_size or len(image_names)
    if not 2 <= count <= len(image_names):
        raise DataError(
            f"{found.name} has {len(image_names)} images to train and validate on, not "
            f"{count}; use another --train-size"
        )
    # The people of an image stay together, or training images would also validate.
    order = [image_names[index] for index in rng.permutation(len(image_names))[:count]]
    split = min(count - 1, max(1, round(settings.validation * count)))
    train, validation = (_with_names(found, set(part)) for part in (order[split:], order[:split]))
    unlabelled = np.isnan(train.points).any(axis=-1).all(axis=0)
    if unlabelled.any():
        joint = found.joints[int(np.argmax(unlabelled))]
        raise DataError(
            f"{found.name}: none of the {len(train)} training images has {joint!r} labelled; label "
            "more images, or leave it out with --bodyparts"
        )
    if np.isnan(validation.points).any(axis=-1).all():
        raise DataError(
            f"{found.name}: none of the {len(validation)} validation images has a label inside "
            "it; correct their labels, or use a larger --validation"
        )
    return train, validation


def load_test(
    source: str,
    joints: tuple[str, ...],
    size: tuple[int, int],
    progress: ProgressCallback | None = None,
    coordinates: str | None = None,
    skip_missing: bool = False,
) -> LabelledImages:
    """Load all labelled images of `source`; the other arguments are those of `DataSettings`.

    Raises:
        DataError: when the data can't be used.
    """
    settings = DataSettings(
        source, joints, size, coordinates=coordinates, skip_missing=skip_missing
    )
    return _load(settings, progress, for_training=False)


def _load(
    settings: DataSettings, progress: ProgressCallback | None, for_training: bool
) -> LabelledImages:
    source, joints, size = settings.source, settings.joints, settings.size
    if source == "scenes":
        scenes = load(source, LoadOptions(bodyparts=joints, size=size))
        return _of_scenes(scenes, scenes.train if for_training else np.arange(len(scenes.images)))
    dataset = read(source, joints, settings.coordinates, settings.skip_missing)
    if for_training:
        dataset = dataset.select([i for i, s in enumerate(dataset.samples) if s.part != "test"])
    return _of_dataset(dataset, size or dataset.size, progress)


def _of_dataset(
    dataset: Dataset, size: tuple[int, int], progress: ProgressCallback | None
) -> LabelledImages:
    loaded = load_images(dataset, size, progress)
    return LabelledImages(
        dataset.name,
        dataset.joints,
        loaded.images,
        loaded.points,
        loaded.scale,
        loaded.sizes,
        tuple(str(sample.image) for sample in dataset.samples),
        dataset.radii,
        dataset.unit,
        dataset.limits,
        loaded.left_out,
    )


def _of_scenes(scenes: KeypointData, chosen: Indices) -> LabelledImages:
    image_names = tuple(scenes.image_names[index] for index in chosen)
    images, scale = scenes.images[chosen], scenes.scale[chosen]
    return LabelledImages(
        scenes.name,
        scenes.joints,
        images,
        scenes.points[chosen],
        scale,
        np.rint(scale[:, None] * images.shape[2:0:-1]).astype(np.intp),
        image_names,
        scenes.radii,
        scenes.unit,
        scenes.limits,
    )


def _with_names(labelled: LabelledImages, image_names: set[str]) -> LabelledImages:
    return labelled.select(
        np.array([i for i, name in enumerate(labelled.image_names) if name in image_names], np.intp)
    )
