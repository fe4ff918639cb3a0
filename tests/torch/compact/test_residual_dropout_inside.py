"""PyTorch's own dropout inside a branch that is skipped keeps its law; the report says what not.

Its generator gives other bits for fewer samples, so that no mask is compared here but its law.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everyone knows it by

from mapdrop.torch import compact, compact_report
from tests.torch.compact.agreement import ALWAYS
from tests.torch.compact.residual_drops import DROPS, Residual
from tests.torch.compact.residual_models import BATCH_NORM, FAMILIES
from tests.torch.compact.residual_work import branches
from tests.torch.compact.training_step import check_same

pytestmark = pytest.mark.training

SAMPLES, TOKENS, WIDTH, STEPS, INSIDE = 6, 8, 8, 300, 0.25
LIMIT = 5.0
"""Standard deviations: a share that is right passes but for one time in a million."""


class Functional(nn.Module):
    """Dropout by the function."""

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, INSIDE, self.training)


class Maps(nn.Module):
    """Dropout of whole features of (b, n, c)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout1d(x.transpose(1, 2), INSIDE, self.training).transpose(1, 2)


class Weights(nn.Module):
    """Dropout of the attention's weights; each token attends to itself alone."""

    def forward(self, x: Tensor) -> Tensor:
        alone = torch.full((TOKENS, TOKENS), -1e9, dtype=x.dtype).fill_diagonal_(0.0)
        return F.scaled_dot_product_attention(x, x, x, alone, INSIDE)


class Ones(nn.Module):
    """A branch that makes ones of any x (b, n, c), which a dropout then drops."""

    def __init__(self, dropout: nn.Module) -> None:
        super().__init__()
        self.linear, self.dropout = nn.Linear(WIDTH, WIDTH), dropout
        nn.init.zeros_(self.linear.weight)
        nn.init.ones_(self.linear.bias)

    def forward(self, x: Tensor) -> Any:
        return self.dropout(self.linear(x))


# Each with the shape of what has coins of its own, of a sample (n, c).
INNER: dict[str, tuple[Callable[[], nn.Module], tuple[int, int]]] = {
    "nn.Dropout": (lambda: nn.Dropout(INSIDE), (TOKENS, WIDTH)),
    "F.dropout": (Functional, (TOKENS, WIDTH)),
    "F.dropout1d": (Maps, (1, WIDTH)),
    "attention": (Weights, (TOKENS, 1)),
}


def added(net: nn.Module, steps: int = STEPS) -> Tensor:
    """Return what the branch adds in each step, in units of one kept value: (steps, b, n, c)."""
    x = torch.zeros(SAMPLES, TOKENS, WIDTH, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(5)
    return torch.stack([net(x).detach() for _ in range(steps)]) * 0.5 * (1 - INSIDE)


def deviations(kept: Tensor, share: float) -> float:
    """Return by how many standard deviations a count of independent coins is off."""
    n = kept.numel()
    return float(abs(kept.sum() - n * share) / (n * share * (1 - share)) ** 0.5)


def check_law(values: Tensor, coins: tuple[int, int]) -> None:
    """Raise AssertionError if samples, or values of those kept, are not kept as the rates say."""
    torch.testing.assert_close(values, values.round(), rtol=0, atol=1e-12)
    values = values.round()
    assert set(values.unique().tolist()) == {0.0, 1.0}
    rows = values.flatten(2).any(2)  # All coins of a sample drop once in 65,536 times, or less.
    assert deviations(rows, 0.5) < LIMIT
    inner = values[rows][:, : coins[0], : coins[1]]
    assert torch.equal(inner.expand(-1, TOKENS, WIDTH), values[rows])  # What shares a coin.
    assert deviations(inner, 1 - INSIDE) < LIMIT
    # Coins are independent: of two samples, and of two places in one.
    assert deviations(rows[:, 1:] & rows[:, :-1], 0.25) < 2 * LIMIT
    pairs = [(inner[1:], inner[:-1])]
    pairs += [(inner, inner.roll(1, axis)) for axis in (1, 2) if inner.shape[axis] > 1]
    for one, other in pairs:
        assert deviations(one * other, (1 - INSIDE) ** 2) < 2 * LIMIT
    assert all(deviations(place, 0.5) < LIMIT for place in rows.unbind(1))


@pytest.mark.parametrize("inner", INNER)
@pytest.mark.parametrize("drop", ["timm", "drop-path"])
def test_the_law_of_dropout_inside(inner: str, drop: str) -> None:
    dropout, coins = INNER[inner]
    net = Residual(Ones(dropout()), DROPS[drop](0.5)).double()
    fast = compact(net, ALWAYS)
    check_law(added(net), coins)
    check_law(added(fast), coins)


@pytest.mark.parametrize("inner", [name for name in INNER if name != "F.dropout1d"])
def test_the_report_says_that_the_bits_differ(inner: str) -> None:
    net = Residual(Ones(INNER[inner][0]()), DROPS["timm"](0.5)).double()
    fast = compact(net, ALWAYS)
    added(fast, 1)
    assert [line.operations > 0 for line in branches(fast)] == [True]
    assert "bits differ" in str(compact_report(fast))


def test_the_report_says_nothing_of_the_kind_without() -> None:
    for dropout in (nn.Identity(), nn.Dropout(0.0), nn.Dropout(INSIDE).eval()):
        net = Residual(Ones(dropout), DROPS["timm"](0.5)).double()
        fast = compact(net, ALWAYS)
        added(fast, 1)
        assert [line.operations > 0 for line in branches(fast)] == [True]
        assert "bits differ" not in str(compact_report(fast))


def test_dropout_outside_of_all_branches_keeps_its_bits() -> None:
    def make(name: str) -> nn.Module:
        family = BATCH_NORM if name == "batch-norm" else FAMILIES[name]
        return nn.Sequential(nn.Dropout(0.2), family.make(DROPS["timm"]), nn.Dropout(0.3)).double()

    for name in ("vit", "batch-norm"):
        check_same(lambda name=name: make(name), FAMILIES["vit"].inputs(SAMPLES))  # type: ignore[misc]


def test_the_check_sees_other_laws() -> None:
    dropout, coins = INNER["nn.Dropout"]
    good = added(Residual(Ones(dropout()), DROPS["timm"](0.5)).double())
    check_law(good, coins)
    shared = good[:, :1].expand_as(good)
    every = torch.ones_like(good)
    for bad in (every, 0 * good, 2 * good, shared, good[..., :1].expand_as(good)):
        with pytest.raises(AssertionError):
            check_law(bad, coins)
