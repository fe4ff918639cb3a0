"""Changed copies of the training images, so that a few of them show joints in many ways."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, pi

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample


@dataclass(frozen=True)
class Augment:
    """How much images are changed. Each draws its own change, evenly between the limits.

    Attributes:
        shift: pixels, in either direction along either axis.
        rotation: degrees, in either direction.
        scale: a factor of at most this size, or as much smaller; 1 leaves the size alone.
        brightness: images are multiplied by a factor between 1 less and 1 more than this.
        flip: whether half of the images are mirrored.
    """

    shift: float = 0.0
    rotation: float = 0.0
    scale: float = 1.0
    brightness: float = 0.0
    flip: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.shift < inf:
            raise ValueError(f"shift is a number of pixels from 0, got {self.shift}")
        if not 0 <= self.rotation <= 180:
            raise ValueError(f"rotation is a number of degrees from 0 to 180, got {self.rotation}")
        if not 1 <= self.scale <= 4:
            raise ValueError(f"scale is a factor from 1 to 4, got {self.scale}")
        if not 0 <= self.brightness < 1:
            raise ValueError(f"brightness is at least 0 and below 1, got {self.brightness}")


@dataclass(frozen=True)
class Changes:
    """What is done to N images; the same numbers whoever makes which part of a batch.

    Attributes:
        gain: (N,), what pixels are multiplied by.
        matrix: (N, 2, 2), how points move around the image's centre.
        offset: (N, 2) as (x, y) pixels, added after that.
        mirrored: (N,), whether the image is mirrored, which is part of its matrix.
    """

    gain: Tensor
    matrix: Tensor
    offset: Tensor
    mirrored: Tensor

    @classmethod
    def drawn(cls, how: Augment, count: int, rng: np.random.Generator) -> Changes:
        """For `count` images."""
        even = rng.uniform(-1, 1, (count, 5))
        angle, size = how.rotation * pi / 180 * even[:, 0], how.scale ** even[:, 1]
        mirrored = (rng.random(count) < 0.5) & how.flip
        cos, sin = size * np.cos(angle), size * np.sin(angle)
        side = np.where(mirrored, -1, 1)
        matrix = np.stack([np.stack([cos * side, -sin], -1), np.stack([sin * side, cos], -1)], -2)
        gain, offset = 1 + how.brightness * even[:, 2], how.shift * even[:, 3:]
        return cls(_float(gain), _float(matrix), _float(offset), torch.from_numpy(mirrored))

    def part(self, of: slice) -> Changes:
        """Those of some of the images."""
        return Changes(self.gain[of], self.matrix[of], self.offset[of], self.mirrored[of])


def brightened(images: Tensor, changes: Changes) -> Tensor:
    """Images (N, 3, H, W) of 0 to 255, lighter or darker; what is too light is cut off, as in a
    camera. Local contrast normalisation undoes the rest of it.
    """
    return (images * changes.gain[:, None, None, None].to(images)).clamp(max=255)


def moved_points(points: Tensor, changes: Changes, size: tuple[int, int], swaps: Tensor) -> Tensor:
    """The points (N, K, 2), as (x, y), in images of (height, width) `size` that `moved` changes.

    Args:
        swaps: (K,), where each joint's place in a mirrored image comes from.

    Returns:
        (N, K, 2); a point that leaves the image becomes NaN, a missing joint.
    """
    height, width = size
    centre = points.new_tensor([(width - 1) / 2, (height - 1) / 2])
    there = (points - centre) @ changes.matrix.mT.to(points) + centre
    there = there + changes.offset[:, None].to(points)
    there = torch.where(changes.mirrored[:, None, None].to(points.device), there[:, swaps], there)
    limits = points.new_tensor([width - 1, height - 1])
    visible = ((there >= 0) & (there <= limits)).all(dim=-1, keepdim=True)
    return torch.where(visible, there, torch.nan)


def moved(images: Tensor, changes: Changes) -> Tensor:
    """Images (N, C, H, W) turned, scaled, mirrored and shifted; zero flows in at the sides."""
    height, width = images.shape[-2:]
    # The grid says where each pixel comes from, in units of half the image's sides.
    half = torch.tensor([width / 2, height / 2])
    back = torch.linalg.inv(changes.matrix)
    shift = -(back @ changes.offset[..., None]) / half[:, None]
    theta = torch.cat([back * half / half[:, None], shift], dim=-1)
    grid = affine_grid(theta.to(images), list(images.shape), align_corners=False)
    return grid_sample(images, grid, align_corners=False)


def _float(values: npt.NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))
