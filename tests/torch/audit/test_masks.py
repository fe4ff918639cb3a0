"""What follows from random numbers alone, and how it is drawn again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mapdrop
import mapdrop.torch as md
from tests.torch.audit.models import WIDTH, X3, Applied

P = 0.4


def rand(x: Tensor) -> Tensor:
    return torch.rand(x.shape[0], 1, x.shape[2])


def locked(x: Tensor) -> Tensor:
    """As AWD-LSTM has it: PyTorch's dropout of ones is the mask."""
    return x * nn.functional.dropout(torch.ones(x.shape[0], 1, x.shape[2]), P)


def written_into(x: Tensor) -> Tensor:
    mask = torch.empty(x.shape[0], 1, 1)
    mask.bernoulli_(1 - P)
    mask /= 1 - P
    return x * mask


def of_parts(x: Tensor) -> Tensor:
    """The mask is put together of two, one of which is a view."""
    both = torch.rand(2, x.shape[0], 1, 1) >= P
    return x * torch.cat([both[0], both[1].expand(-1, x.shape[1] - 1, -1)], 1)


def in_place(x: Tensor) -> Tensor:
    x = x.clone()
    return x.mul_((rand(x) >= P).float())


def mask_first(x: Tensor) -> Tensor:
    return (rand(x) >= P).to(x.dtype).mul(x)


def by_index(x: Tensor) -> Tensor:
    return torch.where(rand(x) < P, torch.zeros(()), x)


def by_numbers(x: Tensor) -> Tensor:
    keep = torch.tensor(1 - P)  # A tensor that is made of Python's numbers.
    return x * torch.floor(keep + rand(x))


FOUND: dict[str, tuple[Callable[[Tensor], Tensor], tuple[int, ...]]] = {
    "locked": (locked, (0, 2)),
    "written into": (written_into, (0,)),
    "of parts": (of_parts, (0, 1)),
    "in place": (in_place, (0, 2)),
    "mask first": (mask_first, (0, 2)),
    "where": (by_index, (0, 2)),
    "masked_fill": (lambda x: x.masked_fill(rand(x) < P, 0.0), (0, 2)),
    "numbers": (by_numbers, (0, 2)),
    "ours": (lambda x: md.Dropout(P)(x), (0, 1, 2)),
    "native": (lambda x: torch.native_dropout(x, P, True)[0], (0, 1, 2)),
}
NOT_FOUND: dict[str, Callable[[Tensor], Tensor]] = {
    "minus infinity": lambda x: x.masked_fill(rand(x) < P, float("-inf")).softmax(-1),
    "a mask of data": lambda x: x * (x > 0),
    "noise times data": lambda x: x * (rand(x) + x.mean()).round(),
    "data in a mask": lambda x: x * torch.zeros_like(x).bernoulli_(P).copy_(x > 0),
    "another value": lambda x: torch.where(rand(x) < P, 1.0, x),
    "constants": lambda x: x * torch.ones(1, 1, WIDTH).index_fill(2, torch.tensor([1]), 0),
}


@pytest.mark.parametrize(("function", "axes"), FOUND.values(), ids=FOUND)
def test_a_drop_is_found(function: Callable[[Tensor], Tensor], axes: tuple[int, ...]) -> None:
    (drop,) = md.audit(Applied(function), X3).drops
    assert drop.axes == axes
    assert drop.shape == tuple(X3.shape)
    assert abs(drop.rate - P) < 0.1
    assert drop.share is not None
    assert drop.share > 0


@pytest.mark.parametrize("function", NOT_FOUND.values(), ids=NOT_FOUND)
def test_what_is_no_drop_is_not_found(function: Callable[[Tensor], Tensor]) -> None:
    assert not md.audit(Applied(function), X3).drops


def test_a_small_rate_of_few_coins_is_found() -> None:
    """No mask that the run drew had a zero."""
    (drop,) = md.audit(Applied(lambda x: nn.functional.dropout(x[:1, :1, :1], 1e-4)), X3).drops
    assert drop.p == 1e-4


def test_whole_numbers_are_dropped_too() -> None:
    class Net(nn.Module):
        def forward(self, tokens: Tensor) -> Tensor:
            return tokens * (torch.rand(tokens.shape) >= P)

    (drop,) = md.audit(Net(), torch.ones(8, 10, dtype=torch.long)).drops
    assert (drop.dtype, drop.unit) == ("int64", "values")


def test_calls_that_are_alike_are_one_line() -> None:
    def thrice(x: Tensor) -> Tensor:
        for _ in range(3):
            x = nn.functional.dropout(x, P)
        return x

    (drop,) = md.audit(Applied(thrice), X3).drops
    assert drop.calls == 3


@pytest.mark.parametrize("name", ["torchvision", "mapdrop_user"])
def test_lines_of_libraries_whose_names_begin_like_ours_are_seen(name: str) -> None:
    folder = {"torchvision": torch, "mapdrop_user": mapdrop}[name]
    file = f"{Path(str(folder.__file__)).parents[1]}/{name}/models.py"
    code = "def drop(x):\n    return nn.functional.dropout(x, 0.2)"
    names: dict[str, Any] = {"nn": nn}
    exec(compile(code, file, "exec"), names)
    (drop,) = md.audit(Applied(names["drop"]), X3).drops
    assert drop.where.endswith(f"{name}/models.py:2")


def called(module: nn.Module, x: Tensor, dropout: float) -> Any:
    """A function of the model around, whose rate is for something else."""
    return module(x) if dropout else x


def test_a_rate_of_the_model_around_it_is_not_taken_for_its_own() -> None:
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Applied(by_index)

        def forward(self, x: Tensor) -> Any:
            return called(self.inner, x, 0.9)

    (drop,) = md.audit(Outer(), X3).drops
    assert (drop.p, drop.kind, drop.name) == (None, "where", "inner")
