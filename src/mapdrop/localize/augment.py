"""Shifted copies of the training images, so that a few of them show joints in many places."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad


def shifted(
    images: Tensor, points: Tensor, most: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Each image moved by whole pixels of its own, zeros flowing in; the points move along.

    Args:
        images: (N, C, H, W).
        points: (N, K, 2) as (x, y). One that leaves the image becomes NaN, a missing joint.
        most: largest shift in pixels, in either direction and along either axis.
        generator: where the shifts come from.
    """
    height, width = images.shape[-2:]
    offsets = torch.randint(-most, most + 1, (len(images), 2), generator=generator)
    wide = pad(images, (most,) * 4)
    windows = [
        image[:, most - y : most - y + height, most - x : most - x + width]
        for image, (x, y) in zip(wide, offsets.tolist(), strict=True)
    ]
    moved = points + offsets[:, None, :]
    limits = torch.tensor([width - 1, height - 1])
    visible = ((moved >= 0) & (moved <= limits)).all(dim=-1, keepdim=True)
    return torch.stack(windows), torch.where(visible, moved, torch.nan)
