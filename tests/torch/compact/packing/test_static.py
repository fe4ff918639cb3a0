"""The packed layout with static shapes, and when it can be used."""

from __future__ import annotations

import pytest
import torch

from mapdrop.torch import Drop, SpatialDropout2d
from mapdrop.torch.compact.packing.gather import convert
from mapdrop.torch.compact.packing.layout import Layout
from mapdrop.torch.compact.packing.static import StaticLayout
from tests.torch.compact.agreement import pixels
from tests.torch.graph.layers_drops import drop_of

CPU = torch.device("cpu")


@pytest.mark.parametrize("channels", [40, 48, 7])
@pytest.mark.parametrize("share", [1, 2, 6])
def test_a_static_layout_packs_like_any_other(channels: int, share: int) -> None:
    shape = (6, channels, 3, 2)
    drop = drop_of(Drop("(b s) c h w -> b c", 0.5, exact="c", s=share), shape)
    assert drop is not None
    torch.manual_seed(4)
    ahead = drop.draw().bits
    torch.manual_seed(4)
    on_device = drop.draw_on_device().bits
    assert on_device.numpy().tolist() == ahead.tolist()
    kept = drop.kept(0)
    assert set(ahead.sum(axis=1).tolist()) == {kept.count}
    assert len(kept.edges) == 6 // share
    static, plain = StaticLayout.from_bits(kept, on_device, 16), Layout.from_bits(ahead, 16)
    x = pixels(*shape)
    packed = static.pack(x)
    torch.testing.assert_close(packed, convert(x, None, plain), rtol=0, atol=0)
    dense = static.unpack(packed)
    torch.testing.assert_close(dense, convert(packed, plain, None, shape), rtol=0, atol=0)
    torch.testing.assert_close(dense, x * on_device[..., None, None], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("layer", "count"),
    [
        (Drop("b c h w -> b c", 0.5, exact="c"), 6),
        (Drop("b c h w -> c", 0.25, exact="c"), 9),
        (Drop("b (g k) h w -> b g", 0.5, exact="g", k=3), 6),
        (Drop("b c h w -> b c", 0.5), 0),
        (Drop("b c h w -> b c", 0.5, exact="b"), 0),
        (SpatialDropout2d(0.5, balance=True), 0),
    ],
)
def test_only_an_exact_number_of_maps_is_known_ahead(layer: Drop, count: int) -> None:
    drop = drop_of(layer, (4, 12, 3, 2))
    assert drop is not None
    assert drop.kept(0).count == count
    if count:
        assert set(drop.draw().bits.sum(axis=1).tolist()) == {count}
