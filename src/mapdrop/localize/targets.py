"""What the network shall learn: a Gaussian at each joint, and a loss that skips missing joints."""

from __future__ import annotations

import torch
from torch import Tensor

SIGMA = 1.5
"""Standard deviation of the target in heat-map pixels (Tompson et al. 2015)."""


def to_heat(points: Tensor, pooling: int) -> Tensor:
    """Image coordinates to heat-map coordinates (pixel centres at integers in both)."""
    return (points + 0.5) / pooling - 0.5


def to_image(points: Tensor, pooling: int) -> Tensor:
    """Heat-map coordinates to image coordinates; the inverse of `to_heat`."""
    return (points + 0.5) * pooling - 0.5


def gaussian_targets(points: Tensor, size: tuple[int, int], sigma: float = SIGMA) -> Tensor:
    """Heat maps with a Gaussian of height 1 at every point, not rounded to a pixel.

    Args:
        points: (N, K, 2) as (x, y) in heat-map pixels; NaN where a joint is missing.
        size: (rows, columns) of a heat map.
        sigma: standard deviation in heat-map pixels.

    Returns:
        (N, K, rows, columns), in the dtype of `points`; NaN throughout where a joint is missing.
    """
    x, y = points[..., None].unbind(dim=-2)
    columns = torch.arange(size[1], dtype=points.dtype, device=points.device)
    rows = torch.arange(size[0], dtype=points.dtype, device=points.device)
    across = torch.exp(-0.5 * ((columns - x) / sigma) ** 2)
    down = torch.exp(-0.5 * ((rows - y) / sigma) ** 2)
    return down[..., :, None] * across[..., None, :]


def heat_map_loss(heats: Tensor, targets: Tensor, labelled: Tensor | None = None) -> Tensor:
    """Squared error summed over the pixels of a map, averaged over the joints that are labelled.

    Summed, because most of a target is zero: a mean over pixels makes the gradient vanish as maps
    grow. Maps whose target is NaN (a missing joint) add nothing to the loss nor to its gradient.

    Args:
        heats, targets: (N, K, rows, columns).
        labelled: number of labelled joints that the sum is divided by: of a whole batch, where
            these heat maps are a part of one. None counts them here.

    Returns:
        a scalar; 0 when no joint is labelled.
    """
    there = ~targets.isnan().any(dim=(-1, -2), keepdim=True)
    # where() before the difference: NaN times zero would still be NaN in the gradient.
    error = torch.where(there, heats, 0.0) - torch.where(there, targets, 0.0)
    return error.square().sum() / (there.sum() if labelled is None else labelled).clamp(min=1)
