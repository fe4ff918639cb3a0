"""The coarse network's shapes, and the position of its drop layer."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mapdrop.localize.network import CoarseNet
from mapdrop.torch import SpatialDropout2d


class Spy(nn.Module):
    """Record the input's shape and drop everything."""

    seen: torch.Size | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.seen = x.shape
        return torch.zeros_like(x)


@pytest.mark.parametrize("banks", [1, 2, 3])
@pytest.mark.parametrize("pooling", [4, 8, 16])
@pytest.mark.parametrize("size", [(64, 64), (120, 160), (33, 71)], ids=str)
def test_heat_maps_are_the_image_pooled_and_rounded_up(
    banks: int, pooling: int, size: tuple[int, int]
) -> None:
    net = CoarseNet(3, width=2, banks=banks, pooling=pooling)
    heat_maps, early = net(torch.randn(2, 3, *size), features=True)
    assert heat_maps.shape == (2, 3, -(-size[0] // pooling), -(-size[1] // pooling))
    assert [maps.shape[1] for maps in early] == [2, 2] * banks
    multiple = pooling << (banks - 1)
    height, width = (-(-side // multiple) * multiple for side in size)
    levels = [level for bank in range(banks) for level in (bank + 1, bank + 2)]
    sizes = [(height >> level, width >> level) for level in levels]
    assert [maps.shape[2:] for maps in early] == sizes


def test_the_network_is_the_papers_at_its_width() -> None:
    # Figure 4: twice 3 x 5x5-128, 5x5-512, 9x9-512, then 1x1-256, 1x1-256, 1x1-joints.
    net = CoarseNet(14, width=128)
    bank = [(5, 3, 128), (5, 128, 128), (5, 128, 128), (5, 128, 512), (9, 512, 512)]
    head = [(1, 512, 256), (1, 256, 256), (1, 256, 14)]
    found = [
        (m.kernel_size[0], m.in_channels, m.out_channels)
        for m in net.modules()
        if isinstance(m, nn.Conv2d)
    ]
    assert found == [*bank, *bank, *head]
    assert isinstance(net.drop, SpatialDropout2d)
    assert net.drop.p == 0.5


@pytest.mark.parametrize(
    ("place", "seen"),
    [("head", [(1, 8, 8, 8)]), ("hidden", [(1, 4, 8, 8)]), ("banks", [(1, 8, 8, 8), (1, 8, 4, 4)])],
)
def test_drop_layers_are_at_the_given_positions(place: str, seen: list[tuple[int, ...]]) -> None:
    net = CoarseNet(3, width=2, banks=2, drop=Spy, drop_at=[place])
    net(torch.randn(1, 3, 64, 64))
    assert [spy.seen for spy in net.modules() if isinstance(spy, Spy)] == seen


def test_the_drop_layer_stands_before_the_first_1x1_convolution() -> None:
    net = CoarseNet(3, width=2, drop=Spy)
    heat_maps = net(torch.randn(1, 3, 64, 64))
    assert isinstance(net.drop, Spy)
    assert net.drop.seen == (1, 8, 8, 8)
    # With everything dropped only the heads' biases remain, the same at every pixel.
    torch.testing.assert_close(heat_maps, heat_maps[..., :1, :1].expand_as(heat_maps))


def test_every_bank_contributes() -> None:
    torch.manual_seed(0)
    net = CoarseNet(1, width=2, banks=3)
    net(torch.randn(1, 3, 64, 64)).square().sum().backward()
    for bank in net.banks:
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in bank.parameters())


def test_moving_the_image_moves_the_heat_map() -> None:
    net = CoarseNet(1, width=4, banks=2).eval()
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


def test_another_pooling_or_position_is_refused() -> None:
    with pytest.raises(ValueError, match=r"pooling must be one of \(4, 8, 16\), got 6"):
        CoarseNet(1, pooling=6)
    with pytest.raises(ValueError, match="got 'tail'"):
        CoarseNet(1, drop_at=["head", "tail"])
