"""Maps dropped inside a branch whose samples are not alone in the first axis, or share an array."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mapdrop.torch import DropPath, SpatialDropout2d, compact
from tests.torch.compact.agreement import ALWAYS
from tests.torch.compact.residual_work import branches
from tests.torch.compact.training_step import check_same

DROPS = {"nn.Dropout2d": nn.Dropout2d, "SpatialDropout2d": SpatialDropout2d}


class Frames(nn.Module):
    """A branch that works on each frame of a video: (samples, frames, channels, h, w)."""

    def __init__(self, drop: nn.Module) -> None:
        super().__init__()
        self.first, self.drop = nn.Conv2d(6, 8, 3, padding=1), drop
        self.second, self.path = nn.Conv2d(8, 6, 3, padding=1), DropPath(0.5)

    def branch(self, x: Tensor, shift: Tensor) -> Tensor:
        y: Tensor = self.second(self.drop(torch.relu(self.first(x) + shift)))
        return y

    def forward(self, x: Tensor, shift: Tensor) -> Tensor:
        y = self.branch(x.flatten(0, 1), shift).unflatten(0, x.shape[:2])
        return x + self.path(y)  # type: ignore[no-any-return]


class Images(Frames):
    """The same branch of each image: (samples, channels, h, w)."""

    def forward(self, x: Tensor, shift: Tensor) -> Tensor:
        return x + self.path(self.branch(x, shift))  # type: ignore[no-any-return]


@pytest.mark.parametrize("shift", [(8, 1, 1), (1, 8, 5, 5)], ids=str)
@pytest.mark.parametrize("drop", DROPS)
@pytest.mark.parametrize("kind", [Frames, Images])
def test_maps_dropped_inside(kind: type[Frames], drop: str, shift: tuple[int, ...]) -> None:
    def make() -> nn.Module:
        torch.manual_seed(1)
        return kind(DROPS[drop](0.5)).double().train()

    shape = (4, 3, 6, 5, 5) if kind is Frames else (4, 6, 5, 5)
    inputs = [torch.randn(s, dtype=torch.float64) for s in (shape, shift)]
    fast = check_same(make, inputs, seeds=range(8))
    assert [branch.operations > 0 for branch in branches(fast)] == [True]


def test_maps_are_skipped_where_the_samples_are_alone() -> None:
    fast = compact(Images(nn.Dropout2d(0.5)), ALWAYS)
    fast(torch.ones(4, 6, 5, 5), torch.ones(1, 8, 5, 5))
    lines = fast.report().lines  # type: ignore[operator]
    assert [(line.reads < 1, line.makes < 1) for line in lines] == [(False, True), (True, False)]
