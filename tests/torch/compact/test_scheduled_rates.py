"""A compact model whose rates are scheduled is captured and planned once, and follows each rate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.utils.checkpoint import checkpoint
from transformers import BeitConfig, BeitModel, ResNetConfig, ResNetModel

from mapdrop import rates
from mapdrop.torch import Drop, Dropout, DropPath, SpatialDropout2d, compact, schedule, seeded
from mapdrop.torch.compact import Costs
from mapdrop.torch.compact.engine import _AGAIN
from mapdrop.torch.compact.schedule import Schedule
from tests.torch.compact.agreement import ALWAYS, check, forced, outcome, pixels, report, skips

pytestmark = pytest.mark.compiler

STEPS = [0.0, 0.1, 0.5, 0.0, 0.9, 1.0]  # Shares of each layer's own rate.


@pytest.fixture(autouse=True)
def _fresh_compiler() -> None:
    torch._dynamo.reset()


class Block(nn.Module):
    def __init__(self, width: int, path: Drop, inner: float = 0.0) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.norm, self.inner, self.path = nn.LayerNorm(width), Dropout(inner), path

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.path(self.last(self.inner(self.first(self.norm(x))).relu()))
        return y


def convolutions() -> nn.Module:
    """Return maps dropped by each law, values between them, and what is not homogeneous."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 3), nn.ReLU(), SpatialDropout2d(0.5), nn.Conv2d(32, 32, 3), Dropout(0.2),
        nn.Conv2d(32, 32, 3), Drop("b c h w -> b c", 0.5, exact="c"), nn.Sigmoid(),
        nn.Conv2d(32, 32, 1), SpatialDropout2d(0.4, share=2, balance=True), nn.ReLU(),
        nn.AvgPool2d(2), nn.Conv2d(32, 5, 1),
    )  # fmt: skip


def branches() -> nn.Module:
    """Return samples dropped by each law, and values inside."""
    drops = (
        DropPath(0.3), DropPath(0.5, balance=True), DropPath(0.3, scale="batch"),
        Drop("b ... -> b", 0.5, exact="b"), Drop("... ->", 0.3),
    )  # fmt: skip
    return nn.Sequential(*[Block(8, path, 0.2) for path in drops])


class Residual(nn.Module):
    """Maps are dropped inside a branch that runs for some samples."""

    def __init__(self) -> None:
        super().__init__()
        maps = SpatialDropout2d(0.5)
        self.branch = nn.Sequential(nn.Conv2d(3, 32, 1), nn.ReLU(), maps, nn.Conv2d(32, 3, 1))
        self.path = DropPath(0.5)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.path(self.branch(x))
        return y


def resnet() -> nn.Module:
    """Return transformers' ResNet with spatial dropout between the convolutions of each block."""
    config = ResNetConfig(
        embedding_size=16, hidden_sizes=[16, 32], depths=[2, 2], layer_type="basic"
    )
    net: Any = ResNetModel(config)
    for block in net.modules():
        if type(block).__name__ == "ResNetBasicLayer":
            layer: Any = block.layer
            block.layer = nn.Sequential(layer[0], SpatialDropout2d(0.5), layer[1])
    return _Pooled(net.eval())  # BatchNorm in training needs all samples of a map.


def beit() -> nn.Module:
    """Return transformers' BEiT with layers in the place of its own drop path."""
    config = BeitConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=3, num_attention_heads=2,
        image_size=16, patch_size=8, drop_path_rate=0.4, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    net = BeitModel(config)
    for module in list(net.modules()):
        for name, child in cast("list[tuple[str, Any]]", list(module.named_children())):
            if type(child).__name__ == "BeitDropPath":
                setattr(module, name, DropPath(child.drop_prob))
    return _Pooled(net)


class _Pooled(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        for layer in net.modules():
            layer.train(isinstance(layer, Drop) or not isinstance(layer, nn.BatchNorm2d))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.net(x).pooler_output
        return y


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "maps": (convolutions, (6, 3, 12, 12)),
    "samples": (branches, (6, 5, 8)),
    "maps of samples": (lambda: nn.Sequential(Residual(), Residual()), (6, 3, 7, 7)),
    "ResNet": (resnet, (4, 3, 32, 32)),
    "BEiT": (beit, (6, 3, 16, 16)),
}


def made(make: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return make().double()


def shares(step: int, p: float) -> float:
    return p * STEPS[step]


def captures(fast: Any) -> int:
    found: int = fast._mapdrop_engine._captured._captures
    return found


@pytest.mark.filterwarnings("ignore:exact='. always drops")
@pytest.mark.parametrize("seed", [None, pytest.param(7, id="seeded")])
@pytest.mark.parametrize(("make", "shape"), MODELS.values(), ids=MODELS)
def test_captured_and_planned_once(
    make: Callable[[], nn.Module], shape: tuple[int, ...], seed: int | None
) -> None:
    """At each rate the results are those of the dense model that was given it."""
    net, dense, x = made(make), made(make), pixels(*shape)
    if seed is not None:
        seeded(net, seed), seeded(dense, seed)
    ramp = schedule(net, shares, None)
    fast: Any = forced(net)
    plans: set[int] = set()
    outputs = []
    for step in range(len(STEPS)):
        if step:
            ramp.step()
        for layer, p in zip(
            (m for m in dense.modules() if isinstance(m, Drop)), ramp.rates.values(), strict=True
        ):
            layer.p = p
        have, want = outcome(fast, (x,), step), outcome(dense, (x,), step)
        assert have.keys() == want.keys()
        for name, value in want.items():
            torch.testing.assert_close({name: have[name]}, {name: value}, rtol=1e-10, atol=1e-10)
        assert skips(fast)
        plans.update(id(plan) for plan in fast._mapdrop_engine.last)
        outputs.append(have["output"])
    assert captures(fast) == len(plans) == 1
    torch.testing.assert_close(outputs[0], outputs[3], rtol=1e-12, atol=1e-12)  # All is kept.
    assert not torch.allclose(outputs[0], outputs[5])


def test_without_a_schedule_it_is_captured_again() -> None:
    """The twin: what counts above counts here."""
    net: Any = made(convolutions)
    fast = forced(net)
    for p in (0.2, 0.3, 0.4):
        net[2].p = p
        check(net, fast, (pixels(6, 3, 12, 12),))
    assert captures(fast) == 3


def test_it_is_planned_for_the_layers_own_rates() -> None:
    net = made(convolutions)
    schedule(net, rates.linear(0, 1, 3), None)
    fast = forced(net)
    fast(pixels(6, 3, 12, 12))
    line = next(line for line in report(fast).lines if line.name == "3")
    assert (line.reads, line.makes) == (0.5, 1)


def test_a_model_that_skips_nothing_is_not_asked_again_at_each_rate() -> None:
    net = made(convolutions)
    ramp = schedule(net, rates.linear(0.1, 1, 3), None)
    fast: Any = compact(net, Costs(margin=1e9))
    for _ in range(4):
        fast(pixels(6, 3, 12, 12))
        ramp.step()
    assert not skips(fast)
    (remembered,) = fast._mapdrop_engine._whole.values()
    assert remembered.left == _AGAIN - 3


def test_the_work_follows_the_present_rate() -> None:
    """More is kept of samples and of maps at a lower rate; nothing is at 1."""
    net: Any = nn.Sequential(nn.Conv2d(3, 64, 1), SpatialDropout2d(0.5), nn.Conv2d(64, 3, 1))
    ramp = schedule(net, lambda step, p: (0.0, 0.5, 1.0)[step], None)
    fast: Any = forced(net)
    rows = []
    for step in range(3):
        if step:
            ramp.step()
        fast(pixels(4, 3, 5, 5))
        (plan,) = fast._mapdrop_engine.last
        assert isinstance(plan, Schedule)
        rows.append(int(sum(drawn.bits.sum() for drawn in plan.last.drawn.values())))  # type: ignore[union-attr]
    assert rows[0] == 4 * 64
    assert 90 < rows[1] < 166
    assert rows[2] == 0


def test_backward_has_the_rate_of_its_forward() -> None:
    net, x = made(convolutions), pixels(6, 3, 12, 12)
    ramp = schedule(net, rates.linear(1, 0, 2), None)
    fast = forced(net)
    found = []
    for late in (False, True):
        given = x.clone().requires_grad_()
        torch.manual_seed(0)
        y = fast(given)
        if late:
            ramp.step()
        found.append(torch.autograd.grad(y.sum(), given)[0])
    assert torch.equal(*found)


class Checkpointed(nn.Module):
    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = checkpoint(self.part, x, use_reentrant=False)
        return y


@pytest.mark.filterwarnings("ignore:exact='. always drops")
def test_a_checkpointed_part() -> None:
    net = Checkpointed(made(branches))
    ramp = schedule(net, rates.linear(0, 1, 2), None)
    fast = forced(net)
    for step in range(3):
        check(net, fast, (pixels(6, 5, 8),), step)
        ramp.step()
    assert skips(fast)
    assert captures(fast) == 1


@pytest.mark.filterwarnings("ignore:exact='. always drops")
@pytest.mark.parametrize("scheduled", ["all", "one"])
@pytest.mark.parametrize("law", ["exact", "balance"])
def test_in_a_compiled_graph(law: str, scheduled: str) -> None:
    """A scheduled number is not known before: if no other is, the graph breaks at the model."""
    torch.manual_seed(0)
    known: Any = {law: "b"}
    blocks = [Block(8, Drop("b ... -> b", 0.5, **known)) for _ in range(2)]
    net = nn.Sequential(*blocks).double()
    chosen = net if scheduled == "all" else nn.ModuleList([blocks[0].path])
    ramp = schedule(chosen, rates.linear(0, 1, 3), None)
    fast: Any = compact(net, ALWAYS)
    counter = CompileCounterWithBackend("eager")
    compiled: Any = torch.compile(fast, backend=counter)
    for step in range(4):
        x = pixels(6, 5, 8)
        want, have = outcome(net, (x,), step), outcome(compiled, (x,), step)
        named = {name.removeprefix("_orig_mod."): value for name, value in have.items()}
        torch.testing.assert_close(named, want, rtol=1e-10, atol=1e-10)
        assert skips(fast)
        ramp.step()
    assert (counter.frame_count, captures(fast)) == ((0, 1) if scheduled == "all" else (1, 0))
    skipped = {branch.name: branch.operations for branch in report(fast).branches}
    assert skipped == ({"0.path": 5, "1.path": 5} if scheduled == "all" else {"1.path": 4})
