"""Residual branches run for the kept samples inside one graph of torch.compile.

Their number must be known, so only balanced and exact drops count; a branch runs for the ceil.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mapdrop.torch import DropPath, SpatialDropout2d, compact, seeded
from mapdrop.torch.compact.packing.kept import KeptSamples
from mapdrop.torch.compact.packing.static_kept import StaticKeptSamples
from mapdrop.torch.graph.drops import PatternDrop
from tests.torch.compact.agreement import ALWAYS
from tests.torch.compact.residual_drops import DROPS, pattern
from tests.torch.compact.residual_models import FAMILIES
from tests.torch.compact.residual_work import branches, flops
from tests.torch.compact.test_under_compile import Stepped
from tests.torch.compact.training_step import check_step, step

pytestmark = [pytest.mark.compiler, pytest.mark.training]

SCHEDULE = import_module("mapdrop.torch.compact.schedule")
SAMPLES = 6
COUNTED: dict[str, Callable[[float], nn.Module]] = {
    "balance": lambda p: DropPath(p, balance=True),
    "exact": DROPS["exact"],
    "groups": pattern("(m s) ... -> m", s=2, balance="m"),
    "scale-batch": pattern("b ... -> b", balance="b", scale="batch"),
    "unscaled": pattern("b ... -> b", balance="b", scale=None),
}
PAIRS = [
    *((family, "balance") for family in FAMILIES if family != "inlined"),
    *(("vit", drop) for drop in COUNTED if drop != "balance"),
    ("swin", "groups"),
    ("nested", "exact"),
]
each_pair = pytest.mark.parametrize(("family", "drop"), PAIRS)


def made(family: str, drop: str = "balance", p: float = 0.4) -> nn.Module:
    """Return a model of which a drop of 6 samples keeps 3 or 4, and one of 3 pairs 1 or 2."""
    torch._dynamo.reset()
    return FAMILIES[family].make(COUNTED[drop], p)


def one_graph(fast: nn.Module, backend: str = "aot_eager") -> nn.Module:
    return Stepped(torch.compile(fast, backend=backend, fullgraph=True))


@each_pair
def test_one_graph_has_the_results_of_the_model(family: str, drop: str) -> None:
    net, x = made(family, drop), FAMILIES[family].inputs(SAMPLES)
    fast = compact(copy.deepcopy(net), ALWAYS)
    compiled = one_graph(fast)
    for seed in range(4):
        check_step(step(Stepped(net), x, seed), step(compiled, x, seed))
    assert all(line.operations for line in branches(fast))
    assert [line.reason for line in branches(fast)] == [""] * FAMILIES[family].drops


@each_pair
def test_on_a_device_no_mask_is_read(
    family: str, drop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run eagerly as on a device, where the host would wait. The CPU stands for the device."""
    net, x = made(family, drop), FAMILIES[family].inputs(SAMPLES)
    wanted = [step(net, x, seed) for seed in range(4)]
    monkeypatch.setattr(SCHEDULE, "_reading_masks_waits", lambda tensors: True)
    monkeypatch.setattr(PatternDrop, "draw", _never)
    monkeypatch.setattr(KeptSamples, "draw", _never)
    fast = compact(net, ALWAYS)
    for seed, want in enumerate(wanted):
        check_step(want, step(fast, x, seed))
    assert all(line.operations for line in branches(fast))


def _never(*_: Any) -> None:
    raise AssertionError("the host read a mask")


def test_a_drop_without_a_known_count_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SCHEDULE, "_reading_masks_waits", lambda tensors: True)
    monkeypatch.setattr(StaticKeptSamples, "draw", _never)
    net, x = FAMILIES["vit"].make(DROPS["drop-path"]), FAMILIES["vit"].inputs(SAMPLES)
    fast = compact(copy.deepcopy(net), ALWAYS)
    check_step(step(net, x), step(fast, x))
    assert all(line.operations for line in branches(fast))


@pytest.mark.parametrize(("p", "most"), [(0.3, 5), (0.5, 3), (0.6, 3)])
def test_a_branch_runs_for_the_ceil(p: float, most: int) -> None:
    net, x = made("vit", p=p), FAMILIES["vit"].inputs(SAMPLES)
    fast = compact(copy.deepcopy(net), ALWAYS)
    plain = one_graph(net)
    compiled = one_graph(fast)
    step(plain, x), step(compiled, x)
    whole, found = flops(plain, x), flops(compiled, x)
    outside = whole - _of_branches(x)
    assert found == outside + _of_branches(x) * most // SAMPLES


def _of_branches(x: list[Tensor]) -> int:
    """The operations of all branches: what two batches of 6 samples take more than one of 0."""
    every = FAMILIES["vit"].make(lambda p: DropPath(p, balance=True), 0.0)
    none = FAMILIES["vit"].make(lambda p: DropPath(p, balance=True), 0.0)
    for block in none.modules():
        if hasattr(block, "branch"):
            block.branch = nn.Identity()
    return flops(every, x) - flops(none, x)


def test_inductor() -> None:
    net, x = made("vit"), FAMILIES["vit"].inputs(SAMPLES)
    fast = compact(copy.deepcopy(net), ALWAYS)
    compiled = one_graph(fast, "inductor")
    for seed in range(3):
        check_step(step(Stepped(net), x, seed), step(compiled, x, seed))
    assert all(line.operations for line in branches(fast))


def test_another_batch_size_is_traced_again() -> None:
    net = made("vit")
    fast = compact(copy.deepcopy(net), ALWAYS)
    compiled = one_graph(fast)
    for samples in (6, 4, 9):
        x = FAMILIES["vit"].inputs(samples)
        check_step(step(Stepped(net), x), step(compiled, x))
        assert all(line.operations for line in branches(fast))


@pytest.mark.parametrize(("p", "samples"), [(0.3, 2), (0.3, 1), (0.1, 6), (1.0, 6), (1.0, 1)])
def test_where_all_samples_or_none_may_be_kept(p: float, samples: int) -> None:
    """As in the last batch of an epoch: the ceil of (1 - p) b is b. It is one graph all the same."""
    net, x = made("vit", p=p), FAMILIES["vit"].inputs(samples)
    fast = compact(copy.deepcopy(net), ALWAYS)
    compiled = one_graph(fast)
    for seed in range(3):
        check_step(step(Stepped(net), x, seed), step(compiled, x, seed))
    assert any(line.operations for line in branches(fast)) is (p == 1 and samples > 1)


def test_a_rate_that_becomes_0_and_comes_back() -> None:
    """As a schedule may have it, and drop_path_rate=0."""
    net, x = made("vit", p=0.0), FAMILIES["vit"].inputs(SAMPLES)
    fast = compact(copy.deepcopy(net), ALWAYS)
    compiled = one_graph(fast)
    for number, p in enumerate((0.0, 0.5, 0.0)):
        for layer in (*net.modules(), *fast.modules()):
            if isinstance(layer, DropPath):
                layer.p = p
        check_step(step(Stepped(net), x), step(compiled, x))
        assert any(line.operations for line in branches(fast)) is (number > 0)  # Planned last.


@pytest.mark.parametrize(("p", "samples"), [(0.3, 2), (1.0, 6)])
def test_where_all_samples_or_none_may_be_kept_on_a_device(
    p: float, samples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SCHEDULE, "_reading_masks_waits", lambda tensors: True)
    net, x = made("vit", p=p), FAMILIES["vit"].inputs(samples)
    fast = compact(copy.deepcopy(net), ALWAYS)
    for seed in range(4):
        check_step(step(net, x, seed), step(fast, x, seed))
    assert any(line.operations for line in branches(fast))


def test_rates_and_seeds_are_followed() -> None:
    net, x = seeded(made("vit"), 3), FAMILIES["vit"].inputs(SAMPLES)
    fast = compact(copy.deepcopy(net), ALWAYS)
    compiled = one_graph(fast)
    for p in (0.3, 0.6):
        for model in (net, fast):
            for layer in model.modules():
                if isinstance(layer, DropPath):
                    layer.p = p
        for _ in range(2):
            check_step(step(Stepped(net), x), step(compiled, x))
        assert [line.rate for line in branches(fast)] == pytest.approx([p] * 4)


def test_autocast() -> None:
    net = made("vit").float()
    fast = compact(copy.deepcopy(net), ALWAYS)
    compiled = one_graph(fast)
    x = [given.float() for given in FAMILIES["vit"].inputs(SAMPLES)]
    found = []
    for model in (net, compiled):
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16):
            found.append(model(*x))
    assert found[0].dtype is found[1].dtype
    torch.testing.assert_close(found[1], found[0], rtol=0.05, atol=0.05)
    assert all(line.operations for line in branches(fast))


def test_infinity_in_a_dropped_sample_reaches_no_gradient() -> None:
    """What a branch makes of a sample that is dropped must not matter, even where it is infinite."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.drop = nn.Linear(4, 4), DropPath(0.5, balance=True)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = x + self.drop(1 / torch.relu(self.linear(x)))
            return y

    torch._dynamo.reset()
    torch.manual_seed(0)
    net = Block().double()
    with torch.no_grad():
        net.linear.weight.copy_(torch.eye(4))
        net.linear.bias.zero_()
    fast = compact(net, ALWAYS)
    compiled = one_graph(fast)
    x = torch.ones(3, 4, dtype=torch.float64)
    compiled(x)
    for seed in range(8):
        torch.manual_seed(seed)
        dropped = (compiled(x) == x).all(1)
        hurt = x.masked_fill(dropped.unsqueeze(1), 0.0)  # 1 / 0 where it is dropped.
        torch.manual_seed(seed)
        y = compiled(hurt.requires_grad_())
        inputs = [hurt, *fast.parameters()]
        gradient, *of_parameters = torch.autograd.grad(y.sum(), inputs)
        assert dropped.any()
        assert not dropped.all()
        assert torch.isfinite(y).all()
        assert all(torch.isfinite(g).all() for g in (gradient, *of_parameters))
        assert torch.equal(gradient[dropped], torch.ones_like(gradient[dropped]))


def test_gradients_of_gradients() -> None:
    net, x = made("vit"), FAMILIES["vit"].inputs(SAMPLES)[0]
    found = []
    with pytest.MonkeyPatch.context() as patch:
        for model, waits in ((net, False), (compact(net, ALWAYS), True)):
            patch.setattr(SCHEDULE, "_reading_masks_waits", lambda tensors, w=waits: w)
            given = x.clone().requires_grad_()
            torch.manual_seed(0)
            with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
                y = model(given)
                (first,) = torch.autograd.grad(y.sin().sum(), given, create_graph=True)
                (second,) = torch.autograd.grad(first.sin().sum(), given)
            found.append(second)
    torch.testing.assert_close(found[1], found[0], rtol=1e-9, atol=1e-9)
    assert found[0].abs().max() > 0


def test_maps_that_are_dropped_inside_a_branch_are_computed() -> None:
    """Inside a compiled branch only samples are skipped; the results are right."""
    net, x = made("resnet-maps-dropped-inside"), FAMILIES["resnet-maps-dropped-inside"].inputs(6)
    assert any(isinstance(layer, SpatialDropout2d) for layer in net.modules())
    fast: Any = compact(copy.deepcopy(net), ALWAYS)
    compiled = one_graph(fast)
    for seed in range(3):
        check_step(step(Stepped(net), x, seed), step(compiled, x, seed))
    assert all(line.operations for line in branches(fast))


def test_timms_drop_path_breaks_the_graph_and_skips() -> None:
    torch._dynamo.reset()
    net, x = FAMILIES["vit"].make(DROPS["timm"]), FAMILIES["vit"].inputs(SAMPLES)
    fast = compact(copy.deepcopy(net), ALWAYS)
    broken = Stepped(torch.compile(fast, backend="aot_eager"))
    check_step(step(Stepped(net), x), step(broken, x))
    assert all(line.operations for line in branches(fast))
