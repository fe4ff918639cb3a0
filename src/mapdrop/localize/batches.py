"""Which images, changed how, each training step sees: a function of the seed and the step alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mapdrop.localize.augment import Augment, Changes, brightened, moved, moved_points
from mapdrop.localize.normalise import local_contrast

_ORDER, _CHANGES, _JITTER = range(3)
"""What is drawn from a seed, each from a generator of its own."""


class Batch(NamedTuple):
    """What one step trains on.

    Attributes:
        images: (N, 3, H, W), normalised.
        points: (N, K, 2) as (x, y) in image pixels, NaN where a joint is missing.
        jitter: (N, K, 2), evenly between -1 and 1.
        labelled: number of labelled joints in the whole batch, of which these may be a part.
    """

    images: Tensor
    points: Tensor
    jitter: Tensor
    labelled: Tensor


@dataclass(frozen=True)
class Batches:
    """Batches of a set of images. `batches[step]` depends on nothing that came before.

    So a run that goes on from a checkpoint sees what it would have seen, and processes that share
    a batch each make their own part of the one that a single process would make.

    Attributes:
        images: (M, 3, H, W), 0 to 255.
        points: (M, K, 2) as (x, y) in image pixels, NaN where a joint is missing.
        size: images in a batch, of all processes together; every batch is full.
        seed: decides the order of the images and their changes.
        augment: how much images are changed.
        swaps: (K,), where each joint's place in a mirrored image comes from; see `data.swaps`.
        rank, ranks: which of how many consecutive parts of every batch to make.
    """

    images: Tensor
    points: Tensor
    size: int
    seed: int
    augment: Augment = field(default_factory=Augment)
    swaps: Sequence[int] | npt.NDArray[np.intp] | None = None
    rank: int = 0
    ranks: int = 1

    def __getitem__(self, step: int) -> Batch:
        """The batch of that step, from 0."""
        chosen = torch.from_numpy(self._chosen(step))
        changes = Changes.drawn(self.augment, self.size, self._rng(_CHANGES, step))
        count, size = self.points.shape[1], (self.images.shape[-2], self.images.shape[-1])
        swaps = torch.as_tensor(range(count) if self.swaps is None else self.swaps)
        points = moved_points(self.points[chosen], changes, size, swaps)
        jitter = self._rng(_JITTER, step).uniform(-1, 1, points.shape).astype(np.float32)
        mine = self.part
        images = brightened(self.images[chosen[mine]].float(), changes.part(mine))
        return Batch(
            moved(local_contrast(images), changes.part(mine)),
            points[mine],
            torch.from_numpy(jitter)[mine].to(points.device),
            (~points.isnan().any(dim=-1)).sum(),
        )

    @property
    def part(self) -> slice:
        """This process's images of every batch."""
        return slice(self.rank * self.size // self.ranks, (self.rank + 1) * self.size // self.ranks)

    def _chosen(self, step: int) -> npt.NDArray[np.intp]:
        """Every image comes once, in random order, before any comes again.

        The last of one round are joined by the first of the next.
        """
        count = len(self.images)
        places = np.arange(step * self.size, (step + 1) * self.size)
        rounds, place = np.divmod(places, count)
        orders = {turn: self._rng(_ORDER, turn).permutation(count) for turn in np.unique(rounds)}
        return np.array([orders[turn][at] for turn, at in zip(rounds, place, strict=True)], np.intp)

    def _rng(self, use: int, number: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, use, int(number)])
