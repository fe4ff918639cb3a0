"""Where the joints are: coordinates from heat maps, finer than a heat-map pixel."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from mapdrop.localize.targets import SIGMA


class Found(NamedTuple):
    """What a network found in N images.

    Attributes:
        points: (N, K, 2) as (x, y) in image pixels.
        likelihood: (N, K), how high the heat map is there: about 1 where the network is sure,
            about 0 where it saw no such joint.
        heats: (N, K, rows, columns), the heat maps of the whole image.
    """

    points: Tensor
    likelihood: Tensor
    heats: Tensor


def peaks(heats: Tensor) -> tuple[Tensor, Tensor]:
    """The highest point of every heat map.

    The maximum is refined along each axis by the parabola through the logarithms of the pixel and
    its two neighbours, which is exact for a Gaussian. At the map's edge, where one neighbour is
    missing, the parabola has the curvature of the targets.

    Args:
        heats: (N, K, rows, columns), finite.

    Returns:
        where it is, (N, K, 2) as (x, y) in heat-map pixels, and the height of its pixel cut to
        0 ... 1, (N, K); both in the dtype of `heats`.

    >>> at, height = mapdrop.localize.readout.peaks(torch.tensor([[[[0.0, 0.5, 0.5, 0.1]]]]))
    >>> at.tolist(), height.tolist()
    ([[[1.5, 0.0]]], [[0.5]])
    """
    columns = heats.shape[-1]
    height, best = heats.flatten(start_dim=-2).max(dim=-1)
    row, column = best // columns, best % columns
    along_row = torch.gather(heats, -2, row[..., None, None].expand(*row.shape, 1, columns))
    along_column = torch.gather(
        heats, -1, column[..., None, None].expand(*row.shape, heats.shape[-2], 1)
    )
    x = column + _refinement(along_row.squeeze(-2), column)
    y = row + _refinement(along_column.squeeze(-1), row)
    return torch.stack([x, y], dim=-1), height.clamp(0, 1)


def _refinement(line: Tensor, at: Tensor) -> Tensor:
    """How far the peak of a (..., n) profile lies from its maximum `at`, in -0.5 to 0.5 pixels."""
    logs = pad(line.clamp(min=1e-4).log(), (1, 1), value=torch.nan)
    left, top, right = (torch.gather(logs, -1, at[..., None] + i).squeeze(-1) for i in range(3))
    bend = -1 / SIGMA**2
    left, right = (
        torch.where(side.isnan(), bend + 2 * top - other, side)
        for side, other in ((left, right), (right, left))
    )
    offset = 0.5 * (left - right) / (left - 2 * top + right)
    # NaN: a flat top, or a map one pixel wide.
    return offset.nan_to_num(0.0).clamp(-0.5, 0.5)
