"""Rows are taken out and put back as PyTorch does it, and arrays keep their layout in memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mapdrop.backends.torch.rows import add_rows, laid_out, spread_rows, take_rows

SHAPE = (4, 6, 3, 5)
LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda x: x,
    "channels last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "turned": lambda x: x.permute(3, 0, 2, 1).contiguous().permute(1, 3, 2, 0),
    "expanded": lambda x: x[:1].expand(x.shape),
    "a part": lambda x: x.repeat_interleave(2, 3)[..., ::2],
}
ROWS = torch.tensor([2, 0])

layouts = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
axes = pytest.mark.parametrize("axis", range(len(SHAPE)))


def array(layout: Callable[[Tensor], Tensor], *shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, dtype=torch.float64, generator=generator)
    return layout(x).detach().requires_grad_()


def order(x: Tensor) -> list[int]:
    """Return the axes as they follow in memory. One along which x was expanded comes first."""
    return sorted(range(x.dim()), key=lambda axis: x.stride(axis) or x.numel(), reverse=True)


def some(axis: int) -> tuple[int, ...]:
    return (*SHAPE[:axis], len(ROWS), *SHAPE[axis + 1 :])


@layouts
@axes
def test_take(layout: Callable[[Tensor], Tensor], axis: int) -> None:
    x = array(layout, *SHAPE)
    taken, want = take_rows(x, axis, ROWS), x.index_select(axis, ROWS)
    assert torch.equal(taken, want)
    assert order(taken) == order(x)
    gradient = torch.randn_like(taken)
    (of_x,), (expected,) = (torch.autograd.grad(y, x, gradient) for y in (taken, want))
    assert torch.equal(of_x, expected)
    assert order(of_x) == order(x)


@layouts
@axes
@pytest.mark.parametrize("factor", [1.0, -2.5])
def test_add(layout: Callable[[Tensor], Tensor], axis: int, factor: float) -> None:
    x, y = array(layout, *SHAPE), array(layout, *some(axis), seed=1)
    total, want = add_rows(x, axis, ROWS, y, factor), x.index_add(axis, ROWS, y, alpha=factor)
    assert torch.equal(total, want)
    assert order(total) == order(x)
    gradient = torch.randn_like(total)
    found, expected = (torch.autograd.grad(z, (x, y), gradient) for z in (total, want))
    assert all(map(torch.equal, found, expected))
    assert [order(g) for g in found] == [order(x), order(y)]


@layouts
@axes
def test_spread(layout: Callable[[Tensor], Tensor], axis: int) -> None:
    y = array(layout, *some(axis))
    spread = spread_rows(y, axis, ROWS, SHAPE[axis])
    want = torch.zeros(SHAPE, dtype=y.dtype).index_add(axis, ROWS, y)
    assert torch.equal(spread, want)
    assert order(spread) == order(y)
    gradient = torch.randn_like(spread)
    (of_y,), (expected,) = (torch.autograd.grad(z, y, gradient) for z in (spread, want))
    assert torch.equal(of_y, expected)
    assert order(of_y) == order(y)


def test_gradients_that_come_in_another_layout_keep_it() -> None:
    """The gradient of what was added comes from the next layer, which may have chosen another."""
    x, y = array(LAYOUTS["contiguous"], *SHAPE), array(LAYOUTS["contiguous"], *some(0), seed=1)
    gradient = LAYOUTS["channels last"](torch.randn(SHAPE, dtype=torch.float64))
    found = torch.autograd.grad(add_rows(x, 0, ROWS, y), (x, y), gradient)
    assert [order(g) for g in found] == [order(gradient)] * 2


@layouts
@pytest.mark.parametrize("like", LAYOUTS.values(), ids=LAYOUTS)
def test_laid_out(layout: Callable[[Tensor], Tensor], like: Callable[[Tensor], Tensor]) -> None:
    x, other = array(layout, *SHAPE), array(like, *SHAPE, seed=1)
    found = laid_out(x, other)
    assert torch.equal(found, x)
    assert order(found) == order(other)
    assert (found is x) is (order(x) == order(other))


def test_an_axis_of_one_index_has_no_place_in_memory() -> None:
    x = torch.randn(4, 1, 3, 5).contiguous(memory_format=torch.channels_last)
    assert laid_out(x, torch.randn(4, 1, 3, 5)) is x


def test_pytorch_alone_would_lose_the_layout() -> None:
    """Where this fails, `add_rows` no longer needs to mind the layout."""
    x = array(LAYOUTS["channels last"], *SHAPE)
    y = array(LAYOUTS["channels last"], *some(0))
    assert order(x.index_add(0, ROWS, y)) != order(x)
