"""What skipping samples rests on: a branch treats each sample by itself. Plain PyTorch alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mapdrop.torch import Drop
from tests.torch.compact.residual_drops import DROPS, Residual
from tests.torch.compact.residual_models import BATCH_NORM, FAMILIES, Family
from tests.torch.compact.residual_work import Call, calls, flops, least_flops
from tests.torch.compact.training_step import check_close, check_step, step

pytestmark = pytest.mark.training

SAMPLES = 6


def without_drops(family: Family) -> list[Call]:
    """Return the calls of a model's residual blocks in training mode, where nothing is dropped."""
    net = family.make(DROPS["timm"], 0.0)
    for module in net.modules():
        if isinstance(module, Drop):
            module.p = 0.0
    return calls(net, family.inputs(SAMPLES))


def rows_and_gradients(call: Call, rows: Tensor, before: bool) -> list[Tensor]:
    """Return some rows of a branch's result, and its parameters' gradients from these.

    The rows are selected before the branch or after it.
    """
    inputs = [x[rows] for x in call.inputs] if before else call.inputs
    y = call.block.branch(*inputs)
    y = y if before else y[rows]
    weights = torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(1))
    wanted = [p for p in call.block.branch.parameters() if p.requires_grad]
    gradients = torch.autograd.grad((y * weights).sum(), wanted) if wanted else ()
    return [y.detach(), *gradients]


@pytest.mark.parametrize("rows", [[2], [0, 1, 2, 3, 4, 5], [1, 3, 4], [0, 5]], ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_some_rows_of_a_branch_are_the_branch_of_these_rows(family: str, rows: list[int]) -> None:
    for call in without_drops(FAMILIES[family]):
        after, before = (rows_and_gradients(call, torch.tensor(rows), b) for b in (False, True))
        for i, (expected, found) in enumerate(zip(after, before, strict=True)):
            check_close(f"value {i}", expected, found)


def test_batch_norm_makes_samples_meet() -> None:
    for call in without_drops(BATCH_NORM):
        after, before = (rows_and_gradients(call, torch.tensor([1, 3]), b) for b in (False, True))
        with pytest.raises(AssertionError, match="apart"):
            check_close("value", after[0], before[0])


class ByHand(nn.Module):
    """A residual block that runs its branch for the samples that a recorded call kept."""

    def __init__(self, call: Call) -> None:
        super().__init__()
        self.block, self.kept, self.factor = call.block, call.kept, call.factor

    def forward(self, x: Tensor, *others: Tensor) -> Tensor:
        rows = self.kept.nonzero().flatten()
        y = self.block.branch(*(v.index_select(0, rows) for v in (x, *others)))
        y = y * self.factor[rows].view(-1, *[1] * (y.dim() - 1))
        total: Tensor = self.block.after(self.block.skip(x).index_add(0, rows, y))
        return total


@pytest.mark.parametrize(
    "family", ["vit", "masked-vit", "layer-attention", "swin", "convnext", "resnet"]
)
def test_a_model_that_skips_by_hand_is_the_model_and_does_the_least_work(family: str) -> None:
    """This holds the tests' own measure of work, and their figure for the least."""
    chosen = FAMILIES[family]
    net, x = chosen.make(DROPS["timm"]), chosen.inputs(SAMPLES)
    by_hand = chosen.make(DROPS["timm"])
    found = {id(call.block): ByHand(call) for call in calls(by_hand, x)}
    for i, block in enumerate(by_hand.blocks):
        assert isinstance(block, Residual)
        by_hand.blocks[i] = found[id(block)]
    least, dense = least_flops(net, x), flops(net, x)
    assert flops(by_hand, x) == least < dense
    want, have = step(net, x), step(by_hand, x)
    have.random = want.random  # It draws nothing.
    have.gradients = {name.replace(".block.", "."): g for name, g in have.gradients.items()}
    have.before = have.after = {n.replace(".block.", "."): b for n, b in have.after.items()}
    check_step(want, have)
