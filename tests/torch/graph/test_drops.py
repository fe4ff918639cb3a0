"""Masks that compact draws in advance equal those that the layers would have drawn."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mapdrop.torch import Drop, DropBlock2d, Dropout, DropPath, SpatialDropout2d, seeded
from mapdrop.torch.graph.drops import FeatureDropout, feature_drop
from mapdrop.torch.graph.graph import Node
from tests.torch.graph.layers_drops import LayersDrop, drop_of

CPU = torch.device("cpu")
SHAPE = (5, 12, 3, 4)
PATTERNS = {
    "maps": Drop("b c h w -> b c", 0.4),
    "samples": Drop("b c h w -> b", 0.4),
    "channels": Drop("b c h w -> c", 0.4),
    "all": Drop("b c h w ->", 0.4),
    "groups": Drop("b (g k) h w -> b g", 0.4, k=3),
    "strided-groups": Drop("b (k g) h w -> b g", 0.4, k=3),
    "dots": Drop("b c ... -> b c", 0.4),
    "path": DropPath(0.4),
    "unscaled": Drop("b c h w -> b c", 0.4, scale=None),
    "exact": Drop("b c h w -> b c", 0.5, exact="c"),
    "balance": Drop("b c h w -> b c", 0.4, balance="b"),
    "share": SpatialDropout2d(0.4, share=2),
    "share-batch": SpatialDropout2d(0.4, share=5),
    "share-more": SpatialDropout2d(0.4, share=64),
    "share-balance": SpatialDropout2d(0.4, share=2, balance=True),
    "balanced": SpatialDropout2d(0.4, balance=True),
    "everything": SpatialDropout2d(1.0),
    "almost-everything": SpatialDropout2d(0.999),
}
REFUSED = {
    "values": Dropout(0.4),
    "blocks": DropBlock2d(0.4, 2),
    "rows": Drop("b c h w -> b h", 0.4),
    "within-maps": Drop("b c h w -> b c w", 0.4),
    "scale-counted": Drop("b c h w -> b c", 0.4, scale="sample"),
    "scale-of-batch": Drop("b c h w -> b c", 0.4, scale="batch"),
    "none": SpatialDropout2d(0.0),
}


def ones(shape: tuple[int, ...] = SHAPE) -> Tensor:
    return torch.ones(shape, dtype=torch.float64)


def made(layer: nn.Module) -> LayersDrop:
    found = drop_of(layer, SHAPE)
    assert found is not None
    return found


def check(layer: nn.Module, drop: LayersDrop, x: Tensor, seed: int) -> None:
    """Raise AssertionError unless mask, random numbers and result are the layer's."""
    torch.manual_seed(seed)
    expected: Tensor = layer(x)
    after = torch.get_rng_state()
    torch.manual_seed(seed)
    drawn = drop.draw()
    assert torch.equal(torch.get_rng_state(), after)
    kept = expected.flatten(2)[:, :, 0] != 0
    assert drawn.bits.dtype == np.bool_
    assert drawn.bits.shape == x.shape[:2]
    assert np.array_equal(drawn.bits, kept.numpy())
    assert torch.equal(drop.apply(x, drawn), expected)
    by_bits = (
        x * torch.from_numpy(drawn.bits.copy()).view(*x.shape[:2], *[1] * (x.dim() - 2)) * drop.gain
    )
    assert torch.allclose(by_bits, expected, rtol=1e-14, atol=0)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", PATTERNS)
def test_a_patterns_mask_is_the_layers(name: str, seed: int) -> None:
    check(PATTERNS[name], made(PATTERNS[name]), ones(), seed)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_feature_mask_is_the_layers(dims: int, p: float, dtype: torch.dtype) -> None:
    layer = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)[dims - 1](p)
    x = torch.ones((4, 9, 3, 2, 4)[: dims + 2], dtype=dtype)
    drop = FeatureDropout(p, tuple(x.shape), dtype, CPU)
    for seed in range(3):
        torch.manual_seed(seed)
        expected = layer(x)
        after = torch.get_rng_state()
        torch.manual_seed(seed)
        drawn = drop.draw()
        assert torch.equal(torch.get_rng_state(), after)
        assert np.array_equal(drawn.bits, (expected.flatten(2)[:, :, 0] != 0).numpy())
        assert torch.equal(drop.apply(x, drawn), expected)


@pytest.mark.parametrize("name", PATTERNS)
def test_the_share_that_is_expected_is_the_share_that_is_drawn(name: str) -> None:
    drop = made(PATTERNS[name])
    shares = [drop.draw().bits.mean() for _ in range(400)]
    error = float(np.std(shares)) / 20
    assert abs(np.mean(shares) - drop.kept(0).density) <= 5 * error + 1e-12


@pytest.mark.parametrize("name", REFUSED)
def test_coins_inside_a_map_are_no_drop_of_whole_maps(name: str) -> None:
    assert drop_of(REFUSED[name], SHAPE) is None


def test_other_layers_are_no_drops() -> None:
    assert drop_of(nn.ReLU(), SHAPE) is None


def test_a_seeded_layer_draws_by_name_and_step() -> None:
    net = seeded(nn.Sequential(nn.Identity(), SpatialDropout2d(0.4)), 3)
    twin = copy.deepcopy(net)
    drop = made(twin[1])
    masks = []
    for seed in range(3):
        torch.manual_seed(seed)
        kept = (net(ones()).flatten(2)[:, :, 0] != 0).numpy()
        after = torch.get_rng_state()
        torch.manual_seed(seed)
        masks.append(drop.draw().bits)
        assert np.array_equal(masks[-1], kept)
        assert torch.equal(torch.get_rng_state(), after)
    assert not np.array_equal(masks[0], masks[1])
    assert twin[1].mapdrop_step == 3


def test_the_check_sees_a_mask_of_another_pattern_and_another_draw() -> None:
    drop = made(PATTERNS["maps"])
    with pytest.raises(AssertionError):
        check(PATTERNS["channels"], drop, ones(), 0)
    drop.drop.draw = FeatureDropout(0.4, SHAPE, torch.float64, CPU).draw  # type: ignore[method-assign]
    with pytest.raises(AssertionError):
        check(PATTERNS["maps"], drop, ones(), 0)


def test_a_feature_mask_is_drawn_where_the_array_is() -> None:
    x = Node(0, value=torch.empty(SHAPE, device="meta"))
    drop = feature_drop(Node(1, nn.functional.dropout2d, (x, 0.4), value=x.value))
    assert isinstance(drop, FeatureDropout)
    assert drop.device.type == "meta"
