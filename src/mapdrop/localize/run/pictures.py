"""The pictures of a run, in memory: which train, which validate, and which the run never saw."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mapdrop.localize.data import DataError, Dataset, KeypointData, Progress, Request, load, read
from mapdrop.localize.data.fit import look
from mapdrop.localize.run.settings import DataSettings

Indices = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Pictures:
    """Labelled pictures at the working size.

    Attributes:
        name: what a report calls the data.
        joints: K names.
        images: (N, H, W, 3), 0 to 255.
        points: (N, K, 2) as (x, y) in working pixels; NaN where missing.
        scale: (N,) original pixels per working pixel.
        owners: (N,) the picture each is from; several people may be in one.
        radii: two radii in original pixels at which PCK is worth reading.
        unit: what an original pixel is.
    """

    name: str
    joints: tuple[str, ...]
    images: npt.NDArray[np.uint8]
    points: npt.NDArray[np.float64]
    scale: npt.NDArray[np.float64]
    owners: tuple[str, ...]
    radii: tuple[float, float]
    unit: str

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the working pictures."""
        return self.images.shape[2], self.images.shape[1]

    @property
    def tensors(self) -> tuple[Tensor, Tensor]:
        """Images (N, 3, H, W), 0 to 255 and channels last in memory, and points."""
        return to_tensor(self.images), torch.from_numpy(self.points).float()

    def only(self, chosen: Indices) -> Pictures:
        """Some of them."""
        return Pictures(
            self.name,
            self.joints,
            self.images[chosen],
            self.points[chosen],
            self.scale[chosen],
            tuple(self.owners[index] for index in chosen),
            self.radii,
            self.unit,
        )

    def digests(self) -> list[str]:
        """What each picture shows, in 16 bytes: a picture is known again wherever it lies."""
        return [blake2b(image.tobytes(), digest_size=16).hexdigest() for image in self.images]


def to_tensor(images: npt.NDArray[np.uint8]) -> Tensor:
    """Images (N, H, W, 3) as (N, 3, H, W), channels last in memory."""
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def to_train(settings: DataSettings, progress: Progress | None = None) -> tuple[Pictures, Pictures]:
    """Pictures to train on and to validate with. What the data set keeps for tests is not used.

    Raises:
        DataError: when the data can't be used, or has too few pictures.
    """
    found = _found(settings.source, settings.joints, settings.size, progress, for_training=True)
    rng = np.random.default_rng(settings.seed)
    owners = list(dict.fromkeys(found.owners))
    count = settings.train_size or len(owners)
    if not 2 <= count <= len(owners):
        raise DataError(
            f"{found.name} has {len(owners)} images to train and validate on, asked for {count}"
        )
    # People in one picture stay together, or validation would see what was trained on.
    order = [owners[index] for index in rng.permutation(len(owners))[:count]]
    few = min(count - 1, max(1, round(settings.validation * count)))
    train, validation = (_of(found, set(part)) for part in (order[few:], order[:few]))
    unlabelled = np.isnan(train.points).any(axis=-1).all(axis=0)
    if unlabelled.any():
        joint = found.joints[int(np.argmax(unlabelled))]
        raise DataError(
            f"{found.name}: none of the {len(train)} training images has {joint!r} labelled; label "
            "more images, or leave it out with --bodyparts"
        )
    return train, validation


def to_test(
    source: str, joints: tuple[str, ...], size: tuple[int, int], progress: Progress | None = None
) -> Pictures:
    """All labelled pictures of `source`.

    Raises:
        DataError: when the data can't be used.
    """
    return _found(source, joints, size, progress, for_training=False)


def _found(
    source: str,
    joints: tuple[str, ...] | None,
    size: tuple[int, int] | None,
    progress: Progress | None,
    for_training: bool,
) -> Pictures:
    if source == "scenes":
        scenes = load(source, Request(bodyparts=joints, size=size))
        return _of_scenes(scenes, scenes.train if for_training else np.arange(len(scenes.images)))
    dataset = read(source, joints)
    if for_training:
        dataset = dataset.only([i for i, s in enumerate(dataset.samples) if s.part != "test"])
    return _of_dataset(dataset, size or dataset.size, progress)


def _of_dataset(dataset: Dataset, size: tuple[int, int], progress: Progress | None) -> Pictures:
    pictured = look(dataset, size, progress)
    return Pictures(
        dataset.name,
        dataset.joints,
        pictured.images,
        pictured.points,
        pictured.scale,
        tuple(str(sample.image) for sample in dataset.samples),
        dataset.radii,
        dataset.unit,
    )


def _of_scenes(scenes: KeypointData, chosen: Indices) -> Pictures:
    owners = tuple(f"scene {index}" for index in chosen)
    images, points, scale = scenes.images[chosen], scenes.points[chosen], scenes.scale[chosen]
    return Pictures(
        scenes.name, scenes.joints, images, points, scale, owners, scenes.radii, scenes.unit
    )


def _of(pictures: Pictures, owners: set[str]) -> Pictures:
    return pictures.only(
        np.array([i for i, owner in enumerate(pictures.owners) if owner in owners], np.intp)
    )
