"""A factor that is applied later is applied exactly once, whatever lies in between."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from mapdrop.torch import DropPath, SpatialDropout2d
from tests.torch.compact.agreement import check, forced, pixels, skips

C = 32
IMAGE = pixels(3, 3, 6, 6)
DROPS: dict[str, Callable[[], nn.Module]] = {
    "nn.Dropout2d": lambda: nn.Dropout2d(0.5),
    "SpatialDropout2d": lambda: SpatialDropout2d(0.5),
    "DropPath": lambda: DropPath(0.2),
}
Meeting = Callable[[Tensor, Tensor], Tensor]
MEETINGS: dict[str, Meeting] = {
    "add": lambda x, y: x + y,
    "add the other way round": lambda x, y: y + x,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "in place": lambda x, y: x.add_(y),
}
SHAPES = {
    "one channel": lambda x: x[:, :1],
    "one pixel": lambda x: x.mean((2, 3), keepdim=True),
    "one sample": lambda x: x[:1],
    "no batch axis": lambda x: x[0],
    "the same": lambda x: x,
}


class Meets(nn.Module):
    """Combine two dropped arrays, one of them perhaps broadcast, and drop the result."""

    def __init__(
        self, drop: Callable[[], nn.Module], meet: Meeting, shape: Callable[[Tensor], Tensor]
    ) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.a, self.b, self.c = nn.Conv2d(3, C, 3), nn.Conv2d(C, 4, 3), nn.Conv2d(3, C, 3)
        self.drops = nn.ModuleList(drop() for _ in range(3))
        self.meet, self.shape = meet, shape

    def forward(self, x: Tensor) -> Tensor:
        one = self.drops[0](self.a(x))
        other = self.shape(self.drops[1](self.c(x)))
        return self.b(self.drops[2](self.meet(one, other)))  # type: ignore[no-any-return]


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("meet", MEETINGS.values(), ids=MEETINGS)
@pytest.mark.parametrize("drop", DROPS.values(), ids=DROPS)
def test_two_dropped_arrays_that_meet(
    drop: Callable[[], nn.Module], meet: Meeting, shape: Callable[[Tensor], Tensor]
) -> None:
    net = Meets(drop, meet, shape)
    fast = forced(net)
    for seed in range(2):
        check(net, fast, (IMAGE,), seed)
    assert skips(fast)


class OneChannel(nn.Module):
    """Broadcast an array of one map that was dropped at the same rate."""

    def __init__(self, drop: Callable[[], nn.Module], meet: Meeting) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.a, self.b, self.c = nn.Conv2d(3, C, 3), nn.Conv2d(C, 4, 3), nn.Conv2d(3, 1, 3)
        self.drops = nn.ModuleList(drop() for _ in range(3))
        self.meet = meet

    def forward(self, x: Tensor) -> Tensor:
        met = self.meet(self.drops[0](self.a(x)), self.drops[1](self.c(x)))
        return self.b(self.drops[2](met))  # type: ignore[no-any-return]


@pytest.mark.parametrize("meet", MEETINGS.values(), ids=MEETINGS)
@pytest.mark.parametrize("drop", DROPS.values(), ids=DROPS)
def test_a_dropped_array_of_one_channel(drop: Callable[[], nn.Module], meet: Meeting) -> None:
    net = OneChannel(drop, meet)
    fast = forced(net)
    for seed in range(3):
        check(net, fast, (IMAGE,), seed)
    assert skips(fast)
