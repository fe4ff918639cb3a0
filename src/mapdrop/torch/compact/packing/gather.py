"""Gather rows of a packed array: to pack, to unpack and to change the layout are this one step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mapdrop.torch.compact.packing.layout import IndexArray, Layout


def convert(
    values: Tensor, source: Layout | None, target: Layout | None, shape: Sequence[int] = ()
) -> Tensor:
    """Return an array in another layout; None stands for dense. Missing maps become zeros.

    Args:
        values: the array.
        source, target: the layouts.
        shape: of the dense result, if `target` is None.
    """
    if source is target:
        return values
    if source is None:
        assert target is not None
        packed = values.reshape(1, -1, *values.shape[2:])
        return gather_rows(packed, target.dense_index, target.row_index)
    if target is None:
        gathered = gather_rows(values, source.row_index, source.dense_index)
        return gathered.reshape(shape)
    return gather_rows(values, source.rows_of(target), target.rows_of(source))


def gather_rows(values: Tensor, rows: IndexArray, inverse: IndexArray) -> Tensor:
    """Return (1, len(rows), *space) from (1, n, *space); row -1 is a zero map.

    Args:
        rows: none of them twice, except -1.
        inverse: for each of the n rows its place in the result, or -1.
    """
    gathered: Tensor = _GatherRows.apply(values, rows, inverse)
    return gathered


class _GatherRows(torch.autograd.Function):
    """Its derivative is the gather with the two index arrays swapped."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, rows: IndexArray, inverse: IndexArray) -> Tensor:
        ctx.rows, ctx.inverse = rows, inverse
        present = np.flatnonzero(rows >= 0)
        if len(present) == len(rows):
            return values.index_select(1, _index(rows, values))
        out = values.new_zeros((1, len(rows), *values.shape[2:]))
        gathered = values.index_select(1, _index(rows[present], values))
        return out.index_copy_(1, _index(present, values), gathered)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return gather_rows(grad, ctx.inverse, ctx.rows), None, None


def _index(rows: IndexArray, like: Tensor) -> Tensor:
    return torch.from_numpy(rows).to(like.device)
