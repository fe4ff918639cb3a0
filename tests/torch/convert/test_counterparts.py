"""Each layer of another library has the counterpart with its law and its settings."""

from __future__ import annotations

import re

import pytest
from monai.networks.layers.drop_path import DropPath as MonaiDropPath
from torch import nn

from mapdrop.torch import (
    Drop,
    DropBlock2d,
    DropBlock3d,
    Dropout,
    DropPath,
    SpatialDropout1d,
    SpatialDropout2d,
    SpatialDropout3d,
    convert,
    convert_report,
)
from tests.torch.convert import peers

RATE = 0.25
BLOCK = {"h": 3, "w": 3}
# The old layer and its counterpart.
EQUAL: dict[str, tuple[nn.Module, Drop]] = {
    "Dropout": (nn.Dropout(RATE), Dropout(RATE)),
    "Dropout in place": (nn.Dropout(RATE, inplace=True), Dropout(RATE, inplace=True)),
    "Dropout1d": (nn.Dropout1d(RATE), SpatialDropout1d(RATE)),
    "Dropout2d": (nn.Dropout2d(RATE, True), SpatialDropout2d(RATE, inplace=True)),
    "Dropout3d": (nn.Dropout3d(RATE), SpatialDropout3d(RATE)),
    "DropPath": (peers.DropPath(RATE), DropPath(RATE)),
    "DropPath unscaled": (
        peers.DropPath(RATE, scale_by_keep=False), DropPath(RATE, scale=None),
    ),
    "MONAI's DropPath": (MonaiDropPath(RATE, False), DropPath(RATE, scale=None)),
    "Dinov2DropPath": (peers.Dinov2DropPath(RATE), DropPath(RATE)),
    "StochasticDepth": (peers.StochasticDepth(RATE), DropPath(RATE)),
    "StochasticDepth of batches": (
        peers.StochasticDepth(RATE, "batch"), Drop("... ->", RATE),
    ),
    "DropBlock2d, torchvision": (
        peers.torchvision_block(inplace=True), DropBlock2d(RATE, 3, scale="batch", inplace=True),
    ),
    "DropBlock3d, torchvision": (peers.DropBlock3d(), DropBlock3d(RATE, 3, scale="batch")),
    "DropBlock2d, timm": (
        peers.timm_block(inplace=True),
        Drop("b c h w -> b h w", RATE, block=BLOCK, region="full", scale="batch", inplace=True),
    ),
    "DropBlock2d, timm, uncoupled": (
        peers.timm_block(couple_channels=False, scale_by_keep=False, block_size=5),
        DropBlock2d(RATE, 5, region="full", scale=None),
    ),
    "DropBlock2d, old timm, fast": (
        peers.old_timm_block(), DropBlock2d(RATE, 3, region="full", scale="batch"),
    ),
    "DropBlock2d, old timm": (
        peers.old_timm_block(fast=False), DropBlock2d(RATE, 3, scale="batch"),
    ),
}  # fmt: skip
# Layers without a counterpart, and what the report says of them.
NONE: dict[str, tuple[nn.Module, str]] = {
    "alpha": (nn.AlphaDropout(RATE), "no key fits it"),
    "maps of alpha": (nn.FeatureAlphaDropout(RATE), "no key fits it"),
    "a subclass": (peers.Gaussian(RATE), "no key fits it"),
    "noise": (peers.timm_block(with_noise=True), "DropBlock2d has nothing for with_noise=True"),
    "another rate": (peers.timm_block(gamma_scale=0.5), "nothing for gamma_scale=0.5"),
    "one mask for a batch": (peers.old_timm_block(batchwise=True), "nothing for batchwise=True"),
    "no rate": (peers.Dinov2DropPath(None), "the fraction to drop, .*, not None"),
}


@pytest.mark.parametrize("case", EQUAL)
def test_a_layer_gets_its_counterpart(case: str) -> None:
    old, wanted = EQUAL[case]
    (new,) = convert(nn.Sequential(old))
    assert type(new) is type(wanted)
    assert repr(new) == repr(wanted)


@pytest.mark.parametrize("case", NONE)
def test_a_layer_without_a_counterpart_stays_and_is_named(case: str) -> None:
    old, reason = NONE[case]
    net = convert(nn.Sequential(old, nn.Dropout()))
    assert net[0] is old
    (left,) = convert_report(net).left
    assert (left.name, left.what) == ("0", repr(old))
    assert re.search(reason, left.reason)


@pytest.mark.parametrize("case", ["noise", "another rate", "no rate"])
def test_a_layer_that_was_asked_for_and_has_no_counterpart_is_an_error(case: str) -> None:
    old, _ = NONE[case]
    net = nn.Sequential(nn.Dropout(), old)
    with pytest.raises(ValueError, match=r"1, .* is not replaced: .*give a function"):
        convert(net, {nn.Dropout: Dropout, type(old): DropPath})
    assert type(net[0]) is nn.Dropout
    assert net[1] is old


def test_a_report_says_that_blocks_have_another_mean() -> None:
    net = convert(nn.Sequential(peers.torchvision_block(), nn.Dropout()))
    blocks, ordinary = convert_report(net).replaced
    assert "the mean drop of blocks is p now" in blocks.note
    assert not ordinary.note
    assert f"note: {blocks.note}" in str(convert_report(net))
