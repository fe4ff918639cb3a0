"""What masks drop in truth, of the layers of others and in 16 bits."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

import pytest
import torch
from monai.networks.layers.drop_path import DropPath as MonaiDropPath
from torch import Tensor, nn
from torch.nn import functional

import mapdrop.torch as md
from mapdrop.torch.audit import AuditedDrop, Finding
from mapdrop.torch.audit.measure import Measured
from tests.docs.coming_from import peers
from tests.torch.audit.models import DropBlock2d, DropPath

Audited = tuple[AuditedDrop, tuple[Finding, ...]]
pytestmark = pytest.mark.exhaustive  # Masks are drawn as long as for users.

MEASURE = import_module("mapdrop.torch.audit.measure")
HALF = (torch.bfloat16, torch.float16)


def audited(layer: nn.Module, shape: tuple[int, ...], dtype: torch.dtype) -> Audited:
    """The one drop of a layer, and the findings of a model with it."""
    model = nn.Sequential(nn.Linear(shape[-1], shape[-1]), layer).to(dtype)
    found = md.audit(model, torch.zeros(shape, dtype=dtype))
    (drop,) = found.drops
    return drop, found.findings


@pytest.mark.parametrize("dtype", HALF, ids=str)
@pytest.mark.parametrize("p", [0.001, 0.1])
@pytest.mark.parametrize("kind", [nn.Dropout, nn.AlphaDropout, md.Dropout, md.DropPath])
def test_right_layers_have_no_finding_in_16_bits(
    kind: Callable[[float], nn.Module],
    p: float,
    dtype: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(MEASURE, "_SECONDS", 0.1)
    drop, findings = audited(kind(p), (64, 32, 8), dtype)
    assert not findings
    assert drop.p == p
    assert abs(drop.rate - p) < 0.5 * p


@pytest.mark.parametrize(("p", "real"), [(0.001, 0), (0.01, 0.0117)])
def test_drop_path_that_adds_in_16_bits(p: float, real: float) -> None:
    drop, (finding,) = audited(DropPath(p), (64, 8), torch.bfloat16)
    assert (finding.check, finding.name) == ("rate", "1")
    assert abs(drop.rate - real) < 0.001
    assert f"in bfloat16, not p = {p}." in finding.problem


def test_the_same_drop_path_in_32_bits() -> None:
    drop, findings = audited(DropPath(0.01), (64, 8), torch.float32)
    assert not findings
    assert drop.unit == "samples"


def test_monai_s_drop_path_in_16_bits_is_right() -> None:
    drop, findings = audited(MonaiDropPath(0.01), (64, 8), torch.bfloat16)
    assert not findings
    assert (drop.kind, drop.p, drop.functional) == ("DropPath", 0.01, False)


# From docs/coming-from.md: what torchvision and timm drop of 14x14 and 7x7 maps.
BLOCKS = {
    "timm, 14": ((14, 14), False, 0.209),
    "timm, 7": ((7, 7), False, 0.930),
    "torchvision, 14": ((14, 14), True, 0.093),
}


@pytest.mark.parametrize(("size", "valid", "real"), BLOCKS.values(), ids=BLOCKS)
def test_drop_block_that_does_not_drop_p(
    size: tuple[int, int], valid: bool, real: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MEASURE, "_SECONDS", 2.0)  # 0.093 and 0.1 are near each other.
    drop, (finding,) = audited(DropBlock2d(0.1, 7, valid), (16, 32, *size), torch.float32)
    assert finding.check == "rate"
    assert abs(drop.rate - real) < 0.003


def test_drop_block_that_drops_p() -> None:
    """By the closed form where one block covers the map, and by mapdrop's."""
    for layer in (DropBlock2d(0.1, 7, True), md.DropBlock2d(0.1, 7)):
        drop, findings = audited(layer, (16, 32, 7, 7), torch.float32)
        assert not findings
        assert abs(drop.rate - 0.1) < 0.01


@pytest.mark.parametrize(
    ("block", "real"),
    [(peers.timm_drop_block, 0.209), (peers.old_timm_drop_block_fast, 0.209)],
    ids=["timm", "timm's fast one"],
)
def test_functions_whose_masks_are_made_by_others(
    block: Callable[[Tensor, float, int], Tensor], real: float
) -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return block(x, 0.1, 7) if self.training else x

    found = md.audit(Net(), torch.zeros(16, 32, 14, 14, requires_grad=True))
    (drop,) = found.drops
    assert (drop.kind, drop.p) == (block.__name__, 0.1)
    assert drop.where.startswith("tests/torch/audit/test_rates.py:")
    assert [finding.check for finding in found.findings] == ["rate"]
    assert abs(drop.rate - real) < 0.01


def test_the_bound_holds_and_tells_rates_apart() -> None:
    coins = torch.rand(2000, 500, generator=torch.Generator().manual_seed(0)) < 0.1
    for share in coins.double().mean(1).tolist():
        assert not Measured(share, 500, True).is_not(0.1)
    assert Measured(0.11, 100_000, True).is_not(0.1)
    assert not Measured(0.11, 1000, True).is_not(0.1)
    assert Measured(0.0, 100, True).is_not(0.2)
    assert not Measured(0.0, 10_000, True).is_not(0.001)
    assert MEASURE._CHANCE <= 1e-6


def repeated_drop(x: Tensor, drop_prob: float) -> Tensor:
    coins = (torch.rand(x.shape[0], 1) >= drop_prob).float()
    return x * coins.repeat(1, x.shape[1])


def averaged_drop(x: Tensor, drop_prob: float) -> Tensor:
    """One coin for each sample, of many random numbers, whose mean is symmetric."""
    means = torch.rand_like(x).mean((1, 2, 3), keepdim=True)
    coins = (means >= drop_prob).float()
    return x * coins.repeat(1, *x.shape[1:])


@pytest.mark.parametrize(
    ("function", "shape"), [(repeated_drop, (2, 1000)), (averaged_drop, (2, 500, 2, 2))]
)
def test_masks_of_dependent_values_are_not_taken_for_many(
    function: Callable[[Tensor, float], Tensor], shape: tuple[int, ...]
) -> None:
    """One coin for each sample, spread over all of it: few coins say little of the rate."""

    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return function(x, 0.5) if self.training else functional.relu(x)

    found = md.audit(Net(), torch.zeros(shape, requires_grad=True))
    assert [drop.p for drop in found.drops] == [0.5]
    assert not found.findings
