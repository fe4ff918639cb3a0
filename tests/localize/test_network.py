"""The coarse network's shapes, and where its drop layer stands."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mapdrop.localize.network import CoarseNet


class Spy(nn.Module):
    """Remembers the shape it saw and drops everything."""

    seen: torch.Size | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.seen = x.shape
        return torch.zeros_like(x)


@pytest.mark.parametrize("banks", [1, 2, 3])
@pytest.mark.parametrize("size", [(64, 64), (120, 160), (33, 71)], ids=str)
def test_heat_maps_are_an_eighth_of_the_image_rounded_up(banks: int, size: tuple[int, int]) -> None:
    heats = CoarseNet(3, width=2, banks=banks)(torch.randn(2, 3, *size))
    assert heats.shape == (2, 3, -(-size[0] // 8), -(-size[1] // 8))


def test_the_drop_layer_stands_before_the_first_1x1_convolution() -> None:
    net = CoarseNet(3, width=2, drop=Spy)
    heats = net(torch.randn(1, 3, 64, 64))
    assert isinstance(net.drop, Spy)
    assert net.drop.seen == (1, 8, 8, 8)
    # Everything dropped: the heads' biases alone remain, the same at every pixel.
    torch.testing.assert_close(heats, heats[..., :1, :1].expand_as(heats))


def test_every_bank_has_a_say() -> None:
    net = CoarseNet(1, width=2, banks=3)
    net(torch.randn(1, 3, 64, 64)).square().sum().backward()
    for bank in net.banks:
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in bank.parameters())


def test_moving_the_image_moves_the_heat_map() -> None:
    net = CoarseNet(1, width=4, banks=2)
    image = torch.zeros(1, 3, 256, 256)
    image[..., 120:136, 120:136] = torch.randn(3, 16, 16)
    with torch.no_grad():
        moved = net(image.roll((16, 32), dims=(-2, -1)))
        there = net(image).roll((2, 4), dims=(-2, -1))
    middle = (..., slice(12, 22), slice(12, 22))
    torch.testing.assert_close(moved[middle], there[middle], atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("wrong", ["joints", "width", "banks"])
def test_sizes_start_at_one(wrong: str) -> None:
    sizes = {"joints": 1, "width": 1, "banks": 1, wrong: 0}
    with pytest.raises(ValueError, match=f"{wrong} must be at least 1, got 0"):
        CoarseNet(sizes["joints"], width=sizes["width"], banks=sizes["banks"])
