"""Residual branches at the ends: all, none or one of the samples kept, small batches, p 0 and 1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from mapdrop.torch import compact
from tests.torch.compact.agreement import ALWAYS
from tests.torch.compact.residual_drops import DROPS, Residual
from tests.torch.compact.residual_models import FAMILIES
from tests.torch.compact.residual_work import (
    branches,
    calls,
    least_flops,
    seed_that_keeps,
    work,
)
from tests.torch.compact.training_step import check_same, check_step, step

pytestmark = pytest.mark.training

EACH = [name for name, family in FAMILIES.items() if not family.nested]
SHAPES = ["vit", "masked-vit", "layer-attention", "dit", "swin", "convnext", "resnet"]
NAN_AT_1 = ("transformers", "transformers-new")
"""These divide by 1 - p, so that the models themselves return NaN."""


@pytest.mark.parametrize("family", EACH)
def test_none_one_and_all_of_two_samples_kept(family: str) -> None:
    chosen = FAMILIES[family]
    net, x = chosen.make(DROPS["timm"]), chosen.inputs(2)
    fast = compact(net, ALWAYS)
    for count in (0, 1, 2, 0):
        seed = seed_that_keeps(count, net, x)
        check_step(step(net, x, seed), step(fast, x, seed))


@pytest.mark.parametrize("family", SHAPES)
def test_the_work_is_that_of_the_samples_kept(family: str) -> None:
    chosen = FAMILIES[family]
    net, x = chosen.make(DROPS["timm"]), chosen.inputs(2)
    fast, found = compact(net, ALWAYS), []
    for seed in [seed_that_keeps(count, net, x) for count in range(3)]:
        found.append(work(fast, x, seed))
        assert found[-1] <= least_flops(net, x, seed)
    assert found[0] < found[1] < found[2]
    assert all(line.operations > 0 for line in branches(fast))


def test_parameters_of_a_branch_that_keeps_nobody_get_zeros() -> None:
    chosen = FAMILIES["vit"]
    net, x = chosen.make(DROPS["timm"]), chosen.inputs(2)
    fast: Any = compact(net, ALWAYS)
    torch.manual_seed(seed_that_keeps(0, net, x))
    fast(*x).sum().backward()
    for block in fast.blocks:
        for name, parameter in block.named_parameters():
            assert parameter.grad is not None, name
            assert not parameter.grad.any(), name


@pytest.mark.parametrize("family", SHAPES)
def test_batches_of_other_sizes(family: str) -> None:
    chosen = FAMILIES[family]
    net = chosen.make(DROPS["timm"])
    fast = compact(net, ALWAYS)
    for seed, samples in enumerate((6, 6, 4, 1, 1, 5, 6)):
        x = chosen.inputs(samples)
        check_step(step(net, x, seed), step(fast, x, seed))
        assert all(line.operations > 0 for line in branches(fast)), samples


@pytest.mark.parametrize("drop", [name for name in DROPS if name not in ("groups", "exact")])
def test_batches_of_one_sample(drop: str) -> None:
    """Groups of two need two, and an exact half of one is none."""
    chosen = FAMILIES["vit"]
    check_same(lambda: chosen.make(DROPS[drop]), chosen.inputs(1), seeds=range(4))


@pytest.mark.parametrize("drop", DROPS)
def test_a_rate_of_0_skips_nothing(drop: str) -> None:
    chosen = FAMILIES["vit"]
    fast = check_same(lambda: chosen.make(DROPS[drop], 0.0), chosen.inputs(4))
    assert not any(line.operations for line in branches(fast))


@pytest.mark.parametrize("drop", [name for name in DROPS if name not in NAN_AT_1])
def test_a_rate_of_1(drop: str) -> None:
    chosen = FAMILIES["vit"]
    net, x = chosen.make(DROPS[drop], 1.0), chosen.inputs(4)
    assert not any(call.kept.any() for call in calls(net, x))
    check_same(lambda: chosen.make(DROPS[drop], 1.0), x)


def _set_rate(net: nn.Module, p: float) -> None:
    for block in net.modules():
        if isinstance(block, Residual):
            block.drop.p = p  # type: ignore[assignment]


@pytest.mark.parametrize("drop", ["timm", "torchvision-row", "transformers-new", "drop-path"])
def test_a_rate_that_a_schedule_changes(drop: str) -> None:
    chosen = FAMILIES["vit"]
    net, x = chosen.make(DROPS[drop], 0.0), chosen.inputs(5)
    fast = compact(net, ALWAYS)
    for seed, p in enumerate((0.0, 0.2, 0.2, 0.6, 0.9, 0.0, 0.5)):
        _set_rate(net, p)
        check_step(step(net, x, seed), step(fast, x, seed))
        assert all((line.operations > 0) == (p > 0) for line in branches(fast)), p


def _ramp(p: float) -> Callable[[Any], nn.Module]:
    rates = iter([0.0, p / 3, 2 * p / 3, p])
    return lambda _: DROPS["timm"](next(rates))


def test_a_ramp_of_rates_that_starts_at_0() -> None:
    chosen = FAMILIES["vit"]
    x = chosen.inputs(6)
    fast = check_same(lambda: chosen.make(_ramp(0.6)), x, seeds=range(3))
    lines = [line for line in branches(fast) if line.rate > 0]
    assert [line.rate for line in lines] == pytest.approx([0.2, 0.4, 0.6])
    assert all(line.operations > 0 for line in lines)
