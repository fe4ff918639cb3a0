"""Training targets, a Gaussian at each joint, and a loss that skips missing joints."""

from __future__ import annotations

import torch
from torch import Tensor

SIGMA = 1.5
"""Standard deviation of the target in heat-map pixels (Tompson et al. 2015)."""


def to_heat_map(points: Tensor, pooling: int) -> Tensor:
    """Convert image coordinates to heat-map coordinates; both have pixel centres at integers."""
    return (points + 0.5) / pooling - 0.5


def to_image(points: Tensor, pooling: int) -> Tensor:
    """Convert heat-map coordinates to image coordinates; the inverse of `to_heat_map`."""
    return (points + 0.5) * pooling - 0.5


def gaussian_targets(points: Tensor, size: tuple[int, int], sigma: float = SIGMA) -> Tensor:
    """Return heat maps with a Gaussian of height 1 at each point, not rounded to a pixel.

    Args:
        points: (N, K, 2) as (x, y) in heat-map pixels; NaN where a joint is missing.
        size: (rows, columns) of a heat map.
        sigma: standard deviation in heat-map pixels.

    Returns:
        (N, K, rows, columns), in the dtype of `points`; a missing joint's map is NaN.
    """
    x, y = points[..., None].unbind(dim=-2)
    columns = torch.arange(size[1], dtype=points.dtype, device=points.device)
    rows = torch.arange(size[0], dtype=points.dtype, device=points.device)
    across = torch.exp(-0.5 * ((columns - x) / sigma) ** 2)
    down = torch.exp(-0.5 * ((rows - y) / sigma) ** 2)
    return down[..., :, None] * across[..., None, :]


def heat_map_loss(heat_maps: Tensor, targets: Tensor, labelled: Tensor | None = None) -> Tensor:
    """Return the squared error, summed over a map's pixels and averaged over labelled joints.

    It is summed because most of a target is zero: with a mean over pixels the gradient would vanish
    as maps grow. A map whose target is NaN (a missing joint) adds nothing to loss or gradient.

    Args:
        heat_maps, targets: (N, K, rows, columns).
        labelled: number of labelled joints to divide by: that of the full batch, where these heat
            maps are a shard of one. None counts those of `targets`.

    Returns:
        a scalar; 0 when no joint is labelled.
    """
    labelled_maps = ~targets.isnan().any(dim=(-1, -2), keepdim=True)
    # where() comes before the difference: NaN times zero would be NaN in the gradient.
    error = torch.where(labelled_maps, heat_maps, 0.0) - torch.where(labelled_maps, targets, 0.0)
    return error.square().sum() / (labelled_maps.sum() if labelled is None else labelled).clamp(
        min=1
    )
