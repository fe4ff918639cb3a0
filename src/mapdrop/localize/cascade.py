"""The cascade of Tompson et al. (CVPR 2015, section 4): look again where joints seem to be.

A pooled heat map is coarse. The features before most of the pooling still know where things are, so
a second network reads them once more in a small window around each joint that the first one found.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample

from mapdrop.localize.network import CoarseNet, initialise, start_small
from mapdrop.localize.readout import Found, peaks
from mapdrop.localize.targets import to_image

STRIDE = 2
"""Image pixels for each pixel of a window, along each axis."""

WINDOW = 18
"""Pixels of a window along each axis: 36 pixels of the image."""


class Looks(NamedTuple):
    """Both networks' heat maps.

    Attributes:
        heats: (N, K, rows, columns), the coarse ones.
        fine: (N, K, WINDOW, WINDOW), one window for each joint.
        centres: (N, K, 2) as (x, y), where the windows' middles lie in image pixels.
    """

    heats: Tensor
    fine: Tensor
    centres: Tensor


class Cascade(nn.Module):
    """A coarse network and a refiner that shares its first features.

    Args:
        coarse: finds where to look. Its width and banks decide what the refiner reads.

    >>> net = mapdrop.localize.cascade.Cascade(mapdrop.localize.network.CoarseNet(4, width=8))
    >>> heats, fine, centres = net(torch.zeros(2, 3, 120, 160))
    >>> fine.shape, centres.shape
    (torch.Size([2, 4, 18, 18]), torch.Size([2, 4, 2]))
    """

    def __init__(self, coarse: CoarseNet) -> None:
        super().__init__()
        self.coarse = coarse
        self.refiner = Refiner(coarse.joints, coarse.width, len(coarse.banks))

    def forward(self, images: Tensor, jitter: Tensor | None = None) -> Looks:
        """Heat maps of (N, 3, H, W) images, normalised by `local_contrast`.

        Args:
            jitter: (N, K, 2) image pixels, added to where the refiner looks. Networks know their
                training images so well that without it no window would ever be off its joint.
        """
        heats, early = self.coarse(images, features=True)
        # Where to look is a choice, through which nothing is learnt.
        centres = to_image(peaks(heats.detach().float())[0], self.coarse.pooling)
        if jitter is not None:
            centres = centres + jitter
        return Looks(heats, self.refiner(windows(early, centres)), centres)

    def locate(self, images: Tensor) -> Found:
        """Where the joints are in (N, 3, H, W) images, normalised by `local_contrast`."""
        heats, fine, centres = self(images)
        at, likelihood = peaks(fine)
        return Found(from_window(at, centres), likelihood, heats)


class Refiner(nn.Module):
    """One network for all joints' windows; only the last 1x1 convolution is each joint's own.

    Args:
        joints: number of windows for each image.
        width, banks: of the coarse network.

    Shape:
        (N, K, 2 * banks * width, WINDOW, WINDOW) to (N, K, WINDOW, WINDOW).
    """

    def __init__(self, joints: int, width: int, banks: int) -> None:
        super().__init__()
        self.shared = nn.Sequential(
            nn.Conv2d(2 * banks * width, 2 * width, 5, padding=2),
            nn.ReLU(),
            nn.Conv2d(2 * width, 2 * width, 5, padding=2),
            nn.ReLU(),
            nn.Conv2d(2 * width, 2 * width, 1),
            nn.ReLU(),
        )
        self.own = nn.Conv2d(joints * 2 * width, joints, 1, groups=joints)
        self.apply(initialise)
        start_small(self.own)

    def forward(self, features: Tensor) -> Tensor:
        """One heat map for each window."""
        maps = self.shared(features.flatten(0, 1))
        heats: Tensor = self.own(maps.unflatten(0, features.shape[:2]).flatten(1, 2))
        return heats


def windows(features: tuple[Tensor, ...], centres: Tensor) -> Tensor:
    """What each of the features shows around each joint, all at the windows' resolution.

    Args:
        features: (N, C, h, w) each, of the picture padded at its right and bottom.
        centres: (N, K, 2) as (x, y) in image pixels.

    Returns:
        (N, K, C * len(features), WINDOW, WINDOW); beyond the picture there are zeros.
    """
    offsets = STRIDE * (torch.arange(WINDOW, device=centres.device) - (WINDOW - 1) / 2)
    x = centres[..., 0, None, None] + offsets[None, :]
    y = centres[..., 1, None, None] + offsets[:, None]
    # The first features are those of the full resolution after one pooling by two.
    across, down = 2 * features[0].shape[-1], 2 * features[0].shape[-2]
    places = torch.broadcast_tensors(2 * (x + 0.5) / across - 1, 2 * (y + 0.5) / down - 1)
    rows = torch.stack(places, dim=-1).flatten(1, 2)
    looks = [grid_sample(maps.to(rows), rows, align_corners=False) for maps in features]
    joined: Tensor = torch.cat(looks, dim=1).unflatten(2, (-1, WINDOW))
    return joined.transpose(1, 2)


def to_window(points: Tensor, centres: Tensor) -> Tensor:
    """Image coordinates to coordinates in the windows around `centres`; both (N, K, 2)."""
    return (points - centres) / STRIDE + (WINDOW - 1) / 2


def from_window(points: Tensor, centres: Tensor) -> Tensor:
    """Coordinates in the windows around `centres` to image coordinates."""
    return (points - (WINDOW - 1) / 2) * STRIDE + centres
