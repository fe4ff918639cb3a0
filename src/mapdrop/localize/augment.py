"""Augment training images by random shifts, rotations, scalings, brightness and flips."""

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
    """Limits of the random transforms; each image draws its own, uniformly within them.

    Attributes:
        shift: largest shift in pixels, in either direction along either axis.
        rotation: largest rotation in degrees, in either direction.
        scale: largest factor of enlargement and of reduction, at least 1.
        brightness: pixels are multiplied by a factor from 1 - brightness to 1 + brightness.
        flip: whether to mirror half of the images.
    """

    shift: float = 0.0
    rotation: float = 0.0
    scale: float = 1.0
    brightness: float = 0.0
    flip: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.shift < inf:
            raise ValueError(f"shift must be a number of pixels from 0, got {self.shift}")
        if not 0 <= self.rotation <= 180:
            raise ValueError(f"rotation must be 0 to 180 degrees, got {self.rotation}")
        if not 1 <= self.scale <= 4:
            raise ValueError(f"scale must be a factor from 1 to 4, got {self.scale}")
        if not 0 <= self.brightness < 1:
            raise ValueError(f"brightness must be at least 0 and below 1, got {self.brightness}")


@dataclass(frozen=True)
class Transforms:
    """The transforms of N images. They do not depend on how a batch is sharded.

    Attributes:
        gain: (N,), factors of the pixels.
        matrix: (N, 2, 2), linear maps of points, relative to the image's centre.
        offset: (N, 2) as (x, y) pixels, added after the linear map.
        mirrored: (N,), whether the matrix mirrors the image.
    """

    gain: Tensor
    matrix: Tensor
    offset: Tensor
    mirrored: Tensor

    @classmethod
    def sample(cls, limits: Augment, count: int, rng: np.random.Generator) -> Transforms:
        """Draw the transforms of `count` images."""
        uniform = rng.uniform(-1, 1, (count, 5))
        angle, size = limits.rotation * pi / 180 * uniform[:, 0], limits.scale ** uniform[:, 1]
        mirrored = (rng.random(count) < 0.5) & limits.flip
        cos, sin = size * np.cos(angle), size * np.sin(angle)
        side = np.where(mirrored, -1, 1)
        matrix = np.stack([np.stack([cos * side, -sin], -1), np.stack([sin * side, cos], -1)], -2)
        gain, offset = 1 + limits.brightness * uniform[:, 2], limits.shift * uniform[:, 3:]
        return cls(_float(gain), _float(matrix), _float(offset), torch.from_numpy(mirrored))

    def __getitem__(self, images: slice) -> Transforms:
        """Return the transforms of some of the images."""
        return Transforms(
            self.gain[images], self.matrix[images], self.offset[images], self.mirrored[images]
        )


def adjust_brightness(images: Tensor, transforms: Transforms) -> Tensor:
    """Make images (N, 3, H, W) of 0 to 255 lighter or darker.

    Values above 255 are clipped, as a camera does. Local contrast normalisation undoes the rest.
    """
    return (images * transforms.gain[:, None, None, None].to(images)).clamp(max=255)


def warp_points(
    points: Tensor, transforms: Transforms, size: tuple[int, int], swaps: Tensor
) -> Tensor:
    """Return where points lie after `warp` has transformed their images.

    Args:
        points: (N, K, 2) as (x, y) in pixels.
        transforms: of the N images.
        size: (height, width) of the images.
        swaps: (K,), the joint that each joint becomes in a mirrored image.

    Returns:
        (N, K, 2); NaN, a missing joint, for a point outside the image.
    """
    height, width = size
    centre = points.new_tensor([(width - 1) / 2, (height - 1) / 2])
    warped = (points - centre) @ transforms.matrix.mT.to(points) + centre
    warped = warped + transforms.offset[:, None].to(points)
    warped = torch.where(
        transforms.mirrored[:, None, None].to(points.device), warped[:, swaps], warped
    )
    limits = points.new_tensor([width - 1, height - 1])
    visible = ((warped >= 0) & (warped <= limits)).all(dim=-1, keepdim=True)
    return torch.where(visible, warped, torch.nan)


def warp(images: Tensor, transforms: Transforms) -> Tensor:
    """Rotate, scale, mirror and shift images (N, C, H, W); pixels from outside are zero."""
    height, width = images.shape[-2:]
    # The grid holds the source of each pixel, in units of half the image's sides.
    half = torch.tensor([width / 2, height / 2])
    back = torch.linalg.inv(transforms.matrix)
    shift = -(back @ transforms.offset[..., None]) / half[:, None]
    theta = torch.cat([back * half / half[:, None], shift], dim=-1)
    grid = affine_grid(theta.to(images), list(images.shape), align_corners=False)
    return grid_sample(images, grid, align_corners=False)


def _float(values: npt.NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))
