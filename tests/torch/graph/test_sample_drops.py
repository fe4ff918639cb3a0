"""The share of samples that a drop keeps, read off how it is written or estimated."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from mapdrop.torch.graph.sample_drops import sample_drops
from tests.torch.compact.agreement import captured

FORMS: dict[str, tuple[Callable[[Tensor], Tensor], float, float]] = {
    "timm": (lambda x: x.new_empty((8, 1)).bernoulli_(0.7).div_(0.7), 0.7, 0),
    "transformers": (lambda x: (0.7 + torch.rand((8, 1))).floor_(), 0.7, 0),
    "a coin for the batch": (lambda x: x.new_empty((1, 1)).bernoulli_(0.7), 0.7, 0),
    "the other way round": (lambda x: 1 - x.new_empty((8, 1)).bernoulli_(0.3), 0.7, 0.1),
    "compared": (lambda x: (torch.rand(8, 1) < 0.7).float(), 0.7, 0.1),
}


class Dropped(nn.Module):
    def __init__(self, mask: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.linear, self.mask = nn.Linear(4, 4), mask

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.linear(x) * self.mask(x)
        return y


@pytest.mark.parametrize("form", FORMS)
def test_the_share_of_samples_that_are_kept(form: str) -> None:
    mask, share, tolerance = FORMS[form]
    ((graph, _),) = captured(Dropped(mask), torch.ones(8, 4))
    state = torch.get_rng_state()
    (drop,) = sample_drops(graph)
    assert torch.equal(torch.get_rng_state(), state)
    assert abs(drop.kept - share) <= tolerance
