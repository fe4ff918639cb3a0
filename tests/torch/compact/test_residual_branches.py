"""Residual branches run for the samples that are kept: models of many families, many drops."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest
import torch
from torch import nn

from mapdrop.torch import DropPath, compact
from tests.torch.compact.agreement import ALWAYS
from tests.torch.compact.residual_drops import DROPS
from tests.torch.compact.residual_models import BATCH_NORM, FAMILIES, Family
from tests.torch.compact.residual_work import branches, calls, flops, least_flops, work
from tests.torch.compact.training_step import check_same, check_step, step

pytestmark = pytest.mark.training

SAMPLES = 6
PAIRS = [
    *((family, "timm") for family in FAMILIES),
    *(("vit", drop) for drop in DROPS if drop != "timm"),
    *(("convnext", drop) for drop in ("drop-path", "transformers-new", "groups", "batch")),
    *((family, "drop-path") for family in ("swin", "shared-drop", "nested")),
]
each_pair = pytest.mark.parametrize(("family", "drop"), PAIRS)


@pytest.mark.parametrize("name", DROPS)
def test_each_layer_drops_whole_samples_and_scales_the_others(name: str) -> None:
    layer, found = DROPS[name](0.5), set()
    for seed in range(20):
        torch.manual_seed(seed)
        x = torch.ones(SAMPLES, 3, 2, requires_grad=True)
        y = layer(x)
        (gradient,) = torch.autograd.grad(y.sum(), x)
        assert torch.equal(y, gradient)
        assert all(len(row.unique()) == 1 for row in y)
        found |= set(y.flatten().tolist())
    assert 0.0 in found
    scale = {"unscaled": [1.0], "scale-batch": [6 / kept for kept in range(1, 7)]}.get(name, [2.0])
    assert any(found)
    assert all(any(y == pytest.approx(s) for s in (0.0, *scale)) for y in found)


@each_pair
def test_a_model_trains_the_same(family: str, drop: str) -> None:
    chosen = FAMILIES[family]
    check_same(lambda: chosen.make(DROPS[drop]), chosen.inputs(SAMPLES), seeds=(0, 1, 2))


@each_pair
def test_each_branch_runs_for_the_samples_that_are_kept(family: str, drop: str) -> None:
    chosen = FAMILIES[family]
    net, x = chosen.make(DROPS[drop]), chosen.inputs(SAMPLES)
    fast = compact(net, ALWAYS)
    for seed in seeds_that_drop(net, x):
        assert work(fast, x, seed) <= least_flops(net, x, seed) < flops(net, x, seed)
    lines = branches(fast)
    assert [line.reason for line in lines] == [""] * chosen.drops
    assert [line.rate for line in lines] == pytest.approx([0.5] * chosen.drops)
    assert all(line.operations > 0 for line in lines)


def seeds_that_drop(net: torch.nn.Module, x: list[torch.Tensor]) -> list[int]:
    """Return two seeds with which some samples are dropped."""
    good = (s for s in range(99) if not all(call.kept.all() for call in calls(net, x, s)))
    return list(itertools.islice(good, 2))


def test_the_report_names_the_layers_that_drop() -> None:
    chosen = FAMILIES["vit"]
    fast = compact(chosen.make(DROPS["timm"]), ALWAYS)
    step(fast, chosen.inputs(SAMPLES))
    assert [line.name for line in branches(fast)] == [f"blocks.{i}.drop" for i in range(4)]


def test_a_branch_with_batch_norm_runs_whole_and_right() -> None:
    fast = check_same(lambda: BATCH_NORM.make(DROPS["timm"]), BATCH_NORM.inputs(SAMPLES))
    net = BATCH_NORM.make(DROPS["timm"])
    for seed in (0, 1):
        step(net, BATCH_NORM.inputs(SAMPLES), seed)
    for (name, dense), (_, other) in zip(net.named_buffers(), fast.named_buffers(), strict=True):
        torch.testing.assert_close(other, dense, rtol=1e-10, atol=1e-10, msg=name)
    lines = branches(fast)
    assert [line.operations for line in lines] == [0, 0]
    assert all(re.search("batch.?norm", line.reason, re.IGNORECASE) for line in lines)


def test_a_branch_with_batch_norm_in_eval_mode_is_skipped() -> None:
    def make() -> torch.nn.Module:
        net = BATCH_NORM.make(DROPS["timm"])
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval()
        return net

    fast = check_same(make, BATCH_NORM.inputs(SAMPLES))
    assert all(line.operations > 0 for line in branches(fast))


def test_channels_last() -> None:
    for family in (FAMILIES["convnext"], FAMILIES["resnet"]):
        (x,) = family.inputs(SAMPLES)
        image = x.contiguous(memory_format=torch.channels_last)
        fast = check_same(
            lambda family=family: family.make(DROPS["timm"]).to(  # type: ignore[misc]
                memory_format=torch.channels_last
            ),
            [image],
        )
        assert all(line.operations > 0 for line in branches(fast))


def test_the_comparison_sees_another_mask() -> None:
    chosen: Family = FAMILIES["vit"]
    x = chosen.inputs(SAMPLES)
    net = chosen.make(DROPS["timm"])
    one, other = ([call.kept for call in calls(net, x, seed)] for seed in (0, 1))
    assert any(not torch.equal(a, b) for a, b in zip(one, other, strict=True))
    with pytest.raises(AssertionError, match="output"):
        check_step(step(net, x, 0), step(net, x, 1))


class LooksUp(nn.Module):
    """A branch that looks rows of a table up."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table, self.drop = nn.Embedding(9, 4, **options), DropPath(0.5)

    def forward(self, x: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        return x + self.drop(torch.tanh(self.table(numbers)))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("options", "whole"),
    [
        ({}, False),
        ({"padding_idx": 0}, False),
        ({"scale_grad_by_freq": True}, True),
        ({"max_norm": 0.5}, True),
    ],
    ids=str,
)
def test_rows_of_a_table(options: dict[str, Any], whole: bool) -> None:
    """How often all samples look a row up may scale its gradient, and that they do changes it."""
    numbers = torch.arange(SAMPLES * 5).view(SAMPLES, 5) % 9
    x = torch.randn(SAMPLES, 5, 4, dtype=torch.float64)
    fast = check_same(lambda: LooksUp(**options).double(), [x, numbers], seeds=range(4))
    (line,) = branches(fast)
    assert line.operations == (1 if whole else 2)
    assert ("may mix samples" in str(fast.report())) is whole


def test_whole_numbers_are_multiplied_as_the_model_does() -> None:
    """A branch of integers has no gradient, and is not worth an own path."""

    class Whole(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + (x * 3) * torch.randint(0, 2, (len(x), 1))

    x = torch.arange(2 * 3).view(2, 3)
    for seed in range(8):
        torch.manual_seed(seed)
        want = Whole()(x)
        torch.manual_seed(seed)
        assert torch.equal(compact(Whole(), ALWAYS)(x), want)
