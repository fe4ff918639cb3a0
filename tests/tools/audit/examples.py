"""What users write for `mapdrop audit`: right functions, and wrong ones."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

X = torch.zeros(4, 8)


class Faulty(nn.Module):
    def forward(self, x: Tensor, p: float) -> Tensor:
        return functional.dropout(x, p)


def right() -> Any:
    return nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.25)), X


def wrong() -> Any:
    return Faulty(), {"x": X.clone().requires_grad_(), "p": 0.25}


def alone() -> Any:
    return nn.Linear(8, 8)


def no_model() -> Any:
    return X, X


def raises() -> Any:
    raise OSError("no \x1b[2J file")


class Leaves(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        sys.exit(0)


class Talks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.25)

    def forward(self, x: Tensor) -> Tensor:
        print("called")
        y: Tensor = self.drop(x)
        return y


def leaves() -> Any:
    sys.exit(0)


def leaves_later() -> Any:
    return Leaves(), X


def talks() -> Any:
    print("made")
    return Talks(), X


def misfit() -> Any:
    return nn.Linear(9, 9), X


not_a_function = 3
