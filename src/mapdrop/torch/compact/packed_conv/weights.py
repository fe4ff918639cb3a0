"""Gather the part of a weight that a run of samples uses, and add its gradient back.

A weight is (first, second, *kernel); a bias has the first axis only. An index one past the end of
an axis stands for zeros.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mapdrop import kernels

_COMPILED = (torch.float32, torch.float64)


def gather(
    weight: Tensor, first: Tensor | None, second: Tensor | None = None, gain: float = 1.0
) -> Tensor:
    """Return weight[first][:, second] * gain; None stands for all."""
    if first is None and second is None:
        return weight if gain == 1 else weight * gain
    fast = kernels.for_gather()
    if fast is None or not _supports(weight):
        return gather_by_torch(weight, first, second, gain)
    matrix = _matrix(weight)
    rows, columns = _numbers(first, matrix, 0), _numbers(second, matrix, 1)
    sizes = [
        n if index is None else len(index)
        for n, index in zip(weight.shape, (first, second), strict=False)
    ]
    out = weight.new_empty((*sizes[: weight.dim()], *weight.shape[2:]))
    fast.gather(_matrix(out).numpy(), matrix.numpy(), rows, columns, gain, torch.get_num_threads())
    return out


def scatter_add(
    total: Tensor, part: Tensor, first: Tensor | None, second: Tensor | None = None
) -> None:
    """Add in place: total[first][:, second] += part, except where the index stands for zeros."""
    if first is None and second is None:
        total += part
        return
    fast = kernels.for_gather()
    if fast is None or not _supports(total):
        _scatter_add_by_torch(total, part, first, second)
        return
    matrix = _matrix(total)
    rows, columns = _numbers(first, matrix, 0), _numbers(second, matrix, 1)
    values = _matrix(part.contiguous()).numpy()
    fast.scatter_add(matrix.numpy(), values, rows, columns, torch.get_num_threads())


def _supports(weight: Tensor) -> bool:
    return weight.is_cpu and weight.dtype in _COMPILED and weight.is_contiguous()


def _matrix(weight: Tensor) -> Tensor:
    """Return the same memory as (first, second, values of a kernel)."""
    shape = (*weight.shape, 1)[:2]
    inner = weight.shape[2:].numel()
    return weight.detach().view(*shape, inner)


def _numbers(index: Tensor | None, matrix: Tensor, axis: int) -> Any:
    return (torch.arange(matrix.shape[axis]) if index is None else index).numpy()


def gather_by_torch(
    weight: Tensor, first: Tensor | None, second: Tensor | None, gain: float
) -> Tensor:
    """As `gather`, by PyTorch's operations, which are differentiable and can be compiled."""
    for axis, index in enumerate((first, second)):
        if index is not None:
            zeros = weight.new_zeros((*weight.shape[:axis], 1, *weight.shape[axis + 1 :]))
            weight = torch.cat([weight, zeros], axis).index_select(axis, index.to(weight.device))
    return weight if gain == 1 else weight * gain


def _scatter_add_by_torch(
    total: Tensor, part: Tensor, first: Tensor | None, second: Tensor | None
) -> None:
    targets = []
    for axis, index in enumerate((first, second)[: total.dim()]):
        numbers = torch.arange(total.shape[axis]) if index is None else index
        present = (numbers < total.shape[axis]).nonzero().flatten().to(total.device)
        part = part.index_select(axis, present)
        targets.append(numbers.to(total.device)[present])
    rows = total.index_select(0, targets[0])
    if len(targets) == 1:
        rows += part
    else:
        rows.index_add_(1, targets[1], part)
    total.index_copy_(0, targets[0], rows)
