"""Rows gathered from a packed array, and the derivatives."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mapdrop.torch.compact.packing.gather import gather_rows
from mapdrop.torch.compact.packing.layout import IndexArray
from tests.torch.compact.agreement import pixels


def inverse(rows: list[int], n: int) -> IndexArray:
    inverted = np.full(n, -1, np.int64)
    for at, row in enumerate(rows):
        if row >= 0:
            inverted[row] = at
    return inverted


ROWS = {
    "reversed": [2, 1, 0, 3],
    "some": [3, 0],
    "with zeros": [-1, 2, -1, 0, -1],
    "zeros only": [-1, -1],
    "none": [],
}


@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
def test_gathered_rows(rows: list[int]) -> None:
    x = pixels(1, 4, 2)
    found = gather_rows(x, np.array(rows, np.int64), inverse(rows, 4))
    expected = [x[:, [r]] if r >= 0 else torch.zeros(1, 1, 2, dtype=x.dtype) for r in rows]
    assert torch.equal(found, torch.cat([x[:, :0], *expected], 1))


@pytest.mark.parametrize(
    "rows", [r for r in ROWS.values() if r], ids=[k for k in ROWS if k != "none"]
)
def test_the_first_and_second_derivative(rows: list[int]) -> None:
    x = pixels(1, 4, 2).requires_grad_()
    index, inverted = np.array(rows, np.int64), inverse(rows, 4)
    assert torch.autograd.gradcheck(lambda v: gather_rows(v, index, inverted), x)
    assert torch.autograd.gradgradcheck(lambda v: gather_rows(v, index, inverted), x)
