"""Training batches that are a function of the seed and the step alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mapdrop.localize.augment import Augment, Transforms, adjust_brightness, warp, warp_points
from mapdrop.localize.normalise import local_contrast

_ORDER, _CHANGES, _JITTER = range(3)
"""What is drawn from a seed, each from its own generator."""


class Batch(NamedTuple):
    """The input of one training step.

    Attributes:
        images: (N, 3, H, W), normalised.
        points: (N, K, 2) as (x, y) in image pixels, NaN where a joint is missing.
        jitter: (N, K, 2), uniform from -1 to 1.
        labelled: number of labelled joints in the full batch, of which this may be a shard.
    """

    images: Tensor
    points: Tensor
    jitter: Tensor
    labelled: Tensor


@dataclass(frozen=True)
class Batches:
    """Batches drawn from a set of images. `batches[step]` does not depend on earlier steps.

    A run resumed from a checkpoint therefore sees the same batches as an uninterrupted one, and
    each process of a group makes its shard of the batch that a single process would make.

    Attributes:
        images: (M, 3, H, W), 0 to 255.
        points: (M, K, 2) as (x, y) in image pixels, NaN where a joint is missing.
        size: images in a batch, over all processes; every batch is full.
        seed: determines the order of the images and their transforms.
        augment: limits of the transforms.
        swaps: (K,), the joint that each joint becomes in a mirrored image; see `data.swaps`.
        rank, world_size: make shard `rank` of `world_size` consecutive shards of each batch.
    """

    images: Tensor
    points: Tensor
    size: int
    seed: int
    augment: Augment = field(default_factory=Augment)
    swaps: Sequence[int] | npt.NDArray[np.intp] | None = None
    rank: int = 0
    world_size: int = 1

    def __getitem__(self, step: int) -> Batch:
        """Return the batch of a step, counted from 0."""
        indices = torch.from_numpy(self._indices(step))
        transforms = Transforms.sample(self.augment, self.size, self._rng(_CHANGES, step))
        count, size = self.points.shape[1], (self.images.shape[-2], self.images.shape[-1])
        swaps = torch.as_tensor(range(count) if self.swaps is None else self.swaps)
        points = warp_points(self.points[indices], transforms, size, swaps)
        jitter = self._rng(_JITTER, step).uniform(-1, 1, points.shape).astype(np.float32)
        shard = self.shard
        images = adjust_brightness(self.images[indices[shard]].float(), transforms[shard])
        return Batch(
            warp(local_contrast(images), transforms[shard]),
            points[shard],
            torch.from_numpy(jitter)[shard].to(points.device),
            (~points.isnan().any(dim=-1)).sum(),
        )

    @property
    def shard(self) -> slice:
        """Return the slice of each batch that this process makes."""
        return slice(
            self.rank * self.size // self.world_size, (self.rank + 1) * self.size // self.world_size
        )

    def _indices(self, step: int) -> npt.NDArray[np.intp]:
        """Draw images without replacement, epoch by epoch; a batch may span two epochs."""
        count = len(self.images)
        positions = np.arange(step * self.size, (step + 1) * self.size)
        epochs, positions = np.divmod(positions, count)
        orders = {epoch: self._rng(_ORDER, epoch).permutation(count) for epoch in np.unique(epochs)}
        drawn = [orders[epoch][i] for epoch, i in zip(epochs, positions, strict=True)]
        return np.array(drawn, np.intp)

    def _rng(self, use: int, number: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, use, int(number)])
