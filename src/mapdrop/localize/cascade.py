"""The cascade of Tompson et al. (CVPR 2015, section 4): refine coarse detections.

A pooled heat map is coarse. The features before most of the pooling are still precise, so a second
network reads them in a small window around each joint that the first network found.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample

from mapdrop.localize.network import CoarseNet, initialise, start_small
from mapdrop.localize.readout import Detections, peaks
from mapdrop.localize.targets import to_image

STRIDE = 2
"""Image pixels for each pixel of a window, along each axis."""

WINDOW = 18
"""Pixels of a window along each axis; they cover 36 image pixels."""


class CascadeOutput(NamedTuple):
    """The heat maps of both networks.

    Attributes:
        heat_maps: (N, K, rows, columns), of the coarse network.
        fine: (N, K, WINDOW, WINDOW), of the refiner, one window for each joint.
        centres: (N, K, 2) as (x, y), the windows' centres in image pixels.
    """

    heat_maps: Tensor
    fine: Tensor
    centres: Tensor


class Cascade(nn.Module):
    """A coarse network and a refiner that shares its first features.

    Args:
        coarse: proposes a position for each joint. Its width and banks set the refiner's input.

    >>> net = mapdrop.localize.cascade.Cascade(mapdrop.localize.network.CoarseNet(4, width=8))
    >>> heat_maps, fine, centres = net(torch.zeros(2, 3, 120, 160))
    >>> fine.shape, centres.shape
    (torch.Size([2, 4, 18, 18]), torch.Size([2, 4, 2]))
    """

    def __init__(self, coarse: CoarseNet) -> None:
        super().__init__()
        self.coarse = coarse
        self.refiner: Refiner = Refiner(coarse.joints, coarse.width, len(coarse.banks))

    def forward(self, images: Tensor, jitter: Tensor | None = None) -> CascadeOutput:
        """Return the heat maps of (N, 3, H, W) images, normalised by `local_contrast`.

        Args:
            jitter: (N, K, 2) image pixels, added to the windows' centres. The coarse network fits
                its training images so closely that without jitter every window would be centred.
        """
        heat_maps, early = self.coarse(images, features=True)
        # No gradient flows through the choice of the windows.
        centres = to_image(peaks(heat_maps.detach().float())[0], self.coarse.pooling)
        if jitter is not None:
            centres = centres + jitter
        return CascadeOutput(heat_maps, self.refiner(windows(early, centres)), centres)

    def locate(self, images: Tensor) -> Detections:
        """Find the joints in (N, 3, H, W) images, normalised by `local_contrast`."""
        heat_maps, fine, centres = self(images)
        at, likelihood = peaks(fine)
        return Detections(from_window(at, centres), likelihood, heat_maps)


class Refiner(nn.Module):
    """Refine all joints' windows by one network; only the last 1x1 convolution is per joint.

    Args:
        joints: number of windows for each image.
        width, banks: those of the coarse network.

    Shape:
        (N, K, 2 * banks * width, WINDOW, WINDOW) to (N, K, WINDOW, WINDOW).
    """

    def __init__(self, joints: int, width: int, banks: int) -> None:
        super().__init__()
        self.shared: nn.Sequential = nn.Sequential(
            nn.Conv2d(2 * banks * width, 2 * width, 5, padding=2),
            nn.ReLU(),
            nn.Conv2d(2 * width, 2 * width, 5, padding=2),
            nn.ReLU(),
            nn.Conv2d(2 * width, 2 * width, 1),
            nn.ReLU(),
        )
        self.own: nn.Conv2d = nn.Conv2d(joints * 2 * width, joints, 1, groups=joints)
        self.apply(initialise)
        start_small(self.own)

    def forward(self, features: Tensor) -> Tensor:
        """Return one heat map for each window."""
        maps = self.shared(features.flatten(0, 1))
        heat_maps: Tensor = self.own(maps.unflatten(0, features.shape[:2]).flatten(1, 2))
        return heat_maps


def windows(features: tuple[Tensor, ...], centres: Tensor) -> Tensor:
    """Sample each of the features in a window around each joint, at the windows' resolution.

    Args:
        features: (N, C, h, w) each, of the image padded at the right and bottom.
        centres: (N, K, 2) as (x, y) in image pixels.

    Returns:
        (N, K, C * len(features), WINDOW, WINDOW); zero outside the image.
    """
    offsets = STRIDE * (torch.arange(WINDOW, device=centres.device) - (WINDOW - 1) / 2)
    x = centres[..., 0, None, None] + offsets[None, :]
    y = centres[..., 1, None, None] + offsets[:, None]
    # The first features are those of the full resolution after one 2x2 pooling.
    across, down = 2 * features[0].shape[-1], 2 * features[0].shape[-2]
    positions = torch.broadcast_tensors(2 * (x + 0.5) / across - 1, 2 * (y + 0.5) / down - 1)
    rows = torch.stack(positions, dim=-1).flatten(1, 2)
    sampled = [grid_sample(maps.to(rows), rows, align_corners=False) for maps in features]
    joined: Tensor = torch.cat(sampled, dim=1).unflatten(2, (-1, WINDOW))
    return joined.transpose(1, 2)


def to_window(points: Tensor, centres: Tensor) -> Tensor:
    """Convert image coordinates to those of the windows around `centres`; both (N, K, 2)."""
    return (points - centres) / STRIDE + (WINDOW - 1) / 2


def from_window(points: Tensor, centres: Tensor) -> Tensor:
    """Convert coordinates in the windows around `centres` to image coordinates."""
    return (points - (WINDOW - 1) / 2) * STRIDE + centres
