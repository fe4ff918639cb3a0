"""DINOv2's stochastic depth: what its floor drops, as the page's table says, and we do not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

import mapdrop
from tests.docs.coming_from import cases, page
from tests.docs.coming_from.cases import FLOOR
from tests.integration.test_statistics import accept

HEAD = [int(cell.split()[-1]) for cell in page.head("What a floor drops")[1:-1]]
ROWS = {float(p): figures for p, *figures in page.table("What a floor drops")}
DRAWS = 400


def dropped(added: Callable[..., Tensor], batch: int) -> list[int]:
    """How many samples a call drops, for each of some; their branch adds 1 before it is scaled."""
    x = torch.zeros(batch, 3, 2)
    made = [added(x, lambda x: x + 1) for _ in range(DRAWS)]
    for y in made:
        assert torch.equal(y, y[:, :1, :1].expand_as(y)), "a sample is dropped in part"
    return [int((y == x).all(2).all(1).sum()) for y in made]


def test_the_table_is_complete() -> None:
    assert HEAD == [1, 2, 4, 8, 16, 32]
    assert list(ROWS) == [0.1, 0.2, 0.3, 0.4, 0.5]


@pytest.mark.parametrize("p", ROWS)
@pytest.mark.parametrize("column", range(len(HEAD)), ids=[f"b = {b}" for b in HEAD])
def test_rate(p: float, column: int) -> None:
    batch, *figures, ours = HEAD[column], *ROWS[p]
    made = cases.defined(FLOOR, p=p)
    (old,) = set(dropped(made.old, batch))
    assert figures[column] == f"{old / batch:.3g}"
    assert ours == f"{p}"
    new = dropped(made.new, batch)
    assert max(abs(n - p * batch) for n in new) < 1, "neither floor nor ceil"
    if batch == 1:
        accept(sum(new), DRAWS, p)
    # A mean of counts that are tied to each other spreads less than one of independent coins.
    spread = (DRAWS * 0.25) ** 0.5 / DRAWS
    assert abs(np.mean(new) - p * batch) < 5 * spread


def test_a_floor_for_the_law_twin() -> None:
    """What the check of the law would say of theirs."""
    made = cases.defined(FLOOR, p=0.3)
    assert abs(np.mean(dropped(made.old, 8)) - 0.3 * 8) > 0.5


def test_the_branch_sees_the_kept_samples_in_both() -> None:
    seen: list[int] = []

    def branch(x: Tensor) -> Tensor:
        seen.append(len(x))
        return x

    made, x = cases.defined(FLOOR, p=0.3), torch.ones(10, 2, 3)
    for added in (made.old, made.new):
        added(x, branch)
    assert seen == [7, 7]


def test_scales() -> None:
    made, x = cases.defined(FLOOR, p=0.3), torch.zeros(8, 2, 3)
    one = lambda x: torch.ones_like(x)  # noqa: E731
    assert made.old(x, one).max().item() == pytest.approx(8 / 5)
    assert made.new(x, one).max().item() == pytest.approx(1 / 0.7)
    batch = mapdrop.residual(one, x, 0.3, balance="b", scale="batch", seed=7)
    assert batch.max().item() in (pytest.approx(8 / 5), pytest.approx(8 / 6))
