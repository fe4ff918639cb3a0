"""Read joints' coordinates from heat maps, to a fraction of a heat-map pixel."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from mapdrop.localize.targets import SIGMA


class Detections(NamedTuple):
    """The joints that a network found in N images.

    Attributes:
        points: (N, K, 2) as (x, y) in image pixels.
        likelihood: (N, K), the height of the heat map there: about 1 where the network is
            confident, about 0 where it saw no such joint.
        heat_maps: (N, K, rows, columns), of the full image.
    """

    points: Tensor
    likelihood: Tensor
    heat_maps: Tensor


def peaks(heat_maps: Tensor) -> tuple[Tensor, Tensor]:
    """Find the highest point of each heat map.

    The maximum is refined along each axis by the parabola through the logarithms of the pixel and
    its two neighbours, which is exact for a Gaussian. At the map's edge, where one neighbour is
    missing, the parabola has the curvature of the targets.

    Args:
        heat_maps: (N, K, rows, columns), finite.

    Returns:
        its position, (N, K, 2) as (x, y) in heat-map pixels, and the height of its pixel, (N, K),
        clipped to 0 ... 1; both in the dtype of `heat_maps`.

    >>> at, height = mapdrop.localize.readout.peaks(torch.tensor([[[[0.0, 0.5, 0.5, 0.1]]]]))
    >>> at.tolist(), height.tolist()
    ([[[1.5, 0.0]]], [[0.5]])
    """
    columns = heat_maps.shape[-1]
    height, best = heat_maps.flatten(start_dim=-2).max(dim=-1)
    row, column = best // columns, best % columns
    along_row = torch.gather(heat_maps, -2, row[..., None, None].expand(*row.shape, 1, columns))
    along_column = torch.gather(
        heat_maps, -1, column[..., None, None].expand(*row.shape, heat_maps.shape[-2], 1)
    )
    x = column + _refinement(along_row.squeeze(-2), column)
    y = row + _refinement(along_column.squeeze(-1), row)
    return torch.stack([x, y], dim=-1), height.clamp(0, 1)


def _refinement(line: Tensor, at: Tensor) -> Tensor:
    """Return the peak's offset from the maximum `at` of a (..., n) profile, -0.5 to 0.5 pixels."""
    logs = pad(line.clamp(min=1e-4).log(), (1, 1), value=torch.nan)
    left, top, right = (torch.gather(logs, -1, at[..., None] + i).squeeze(-1) for i in range(3))
    curvature = -1 / SIGMA**2
    left, right = (
        torch.where(side.isnan(), curvature + 2 * top - other, side)
        for side, other in ((left, right), (right, left))
    )
    offset = 0.5 * (left - right) / (left - 2 * top + right)
    # NaN comes from a flat top or a map one pixel wide.
    return offset.nan_to_num(0.0).clamp(-0.5, 0.5)
