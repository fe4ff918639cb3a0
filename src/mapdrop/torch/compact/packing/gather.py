"""Maps of a packed array picked by row: packing, unpacking and choosing are all this one step."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from mapdrop.torch.compact.packing.layout import Ids, Layout


def convert(values: Tensor, source: Layout | None, target: Layout | None, shape: Any) -> Tensor:
    """An array in another layout; None is the whole array of that (logical) shape.

    Maps that the source lacks become zeros.
    """
    if source is target:
        return values
    if source is None:
        assert target is not None
        packed = values.reshape(1, -1, *values.shape[2:])
        return pick(packed, target.number, target.place)
    if target is None:
        picked = pick(values, source.place, source.number)
        return picked.reshape(shape)
    return pick(values, source.find(target), target.find(source))


def pick(values: Tensor, rows: Ids, back: Ids) -> Tensor:
    """(1, n, *space) to (1, len(rows), *space); a row of -1 is a zero map.

    No row may be picked twice; `back` has, for each of the n, where it went, or -1.
    """
    picked: Tensor = _Pick.apply(values, rows, back)  # type: ignore[no-untyped-call]
    return picked


class _Pick(torch.autograd.Function):
    """Its derivative is itself, the other way."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, rows: Ids, back: Ids) -> Tensor:
        ctx.rows, ctx.back = rows, back
        present = np.flatnonzero(rows >= 0)
        if len(present) == len(rows):
            return values.index_select(1, _index(rows, values))
        out = values.new_zeros((1, len(rows), *values.shape[2:]))
        chosen = values.index_select(1, _index(rows[present], values))
        return out.index_copy_(1, _index(present, values), chosen)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return pick(grad, ctx.back, ctx.rows), None, None


def _index(rows: Ids, like: Tensor) -> Tensor:
    return torch.from_numpy(rows).to(like.device)
