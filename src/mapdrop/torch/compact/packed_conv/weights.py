"""The part of a weight that a run of samples uses, and its gradient's way back.

A weight is a matrix of kernels, (first, second, *kernel); a bias has one axis only. Maps are chosen
by number, and a number one too large chooses zeros.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mapdrop import kernels

_COMPILED = (torch.float32, torch.float64)


def choose(
    weight: Tensor, first: Tensor | None, second: Tensor | None = None, gain: float = 1.0
) -> Tensor:
    """weight[first][:, second] * gain; None stands for all."""
    if first is None and second is None:
        return weight if gain == 1 else weight * gain
    fast = kernels.for_weights()
    if fast is None or not _fits(weight):
        return chosen_plainly(weight, first, second, gain)
    matrix = _matrix(weight)
    rows, columns = _numbers(first, matrix, 0), _numbers(second, matrix, 1)
    chosen = [
        n if ids is None else len(ids)
        for n, ids in zip(weight.shape, (first, second), strict=False)
    ]
    out = weight.new_empty((*chosen[: weight.dim()], *weight.shape[2:]))
    fast.choose(_matrix(out).numpy(), matrix.numpy(), rows, columns, gain, _threads())
    return out


def add_chosen(
    total: Tensor, part: Tensor, first: Tensor | None, second: Tensor | None = None
) -> None:
    """total[first][:, second] += part, in place; what was chosen as zeros is left out."""
    if first is None and second is None:
        total += part
        return
    fast = kernels.for_weights()
    if fast is None or not _fits(total):
        _add(total, part, first, second)
        return
    matrix = _matrix(total)
    rows, columns = _numbers(first, matrix, 0), _numbers(second, matrix, 1)
    fast.add(matrix.numpy(), _matrix(part.contiguous()).numpy(), rows, columns, _threads())


def _fits(weight: Tensor) -> bool:
    return weight.is_cpu and weight.dtype in _COMPILED and weight.is_contiguous()


def _matrix(weight: Tensor) -> Tensor:
    """(first, second, inner), the same memory."""
    shape = (*weight.shape, 1)[:2]
    inner = weight.shape[2:].numel()
    return weight.detach().view(*shape, inner)


def _numbers(ids: Tensor | None, matrix: Tensor, axis: int) -> Tensor:
    return (torch.arange(matrix.shape[axis]) if ids is None else ids).numpy()  # type: ignore[return-value]


def _threads() -> int:
    return torch.get_num_threads()


def chosen_plainly(
    weight: Tensor, first: Tensor | None, second: Tensor | None, gain: float
) -> Tensor:
    """`choose` by PyTorch's operations, which are differentiable and can be compiled."""
    for axis, ids in enumerate((first, second)):
        if ids is not None:
            zeros = weight.new_zeros((*weight.shape[:axis], 1, *weight.shape[axis + 1 :]))
            weight = torch.cat([weight, zeros], axis).index_select(axis, ids.to(weight.device))
    return weight if gain == 1 else weight * gain


def _add(total: Tensor, part: Tensor, first: Tensor | None, second: Tensor | None) -> None:
    there = []
    for axis, ids in enumerate((first, second)[: total.dim()]):
        numbers = torch.arange(total.shape[axis]) if ids is None else ids
        present = (numbers < total.shape[axis]).nonzero().flatten().to(total.device)
        part = part.index_select(axis, present)
        there.append(numbers.to(total.device)[present])
    rows = total.index_select(0, there[0])
    if len(there) == 1:
        rows += part
    else:
        rows.index_add_(1, there[1], part)
    total.index_copy_(0, there[0], rows)
