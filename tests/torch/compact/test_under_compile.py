"""compact() inside one graph of torch.compile: exact drops skip, and the results are the model's."""

from __future__ import annotations

import copy
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.backends.common import aot_autograd
from torch._functorch._aot_autograd.utils import make_boxed_func

from mapdrop.torch import Drop, Dropout, SpatialDropout2d, compact, seeded
from mapdrop.torch.graph.drops import PatternDrop
from tests.torch.compact.agreement import ALWAYS, check, outcome, pixels, skips

pytestmark = pytest.mark.compiler

# As a module: the path of its attribute would go through the function `compact`.
SCHEDULE = import_module("mapdrop.torch.compact.schedule")


def exact(share: int = 1, p: float = 0.5) -> Drop:
    return Drop("(b s) c h w -> b c", p, exact="c", s=share)


def stack(share: int = 1, p: float = 0.5) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 40, 3),
        nn.ReLU(),
        exact(share, p),
        nn.Conv2d(40, 24, 3, stride=2),
        nn.PReLU(24),
        exact(share, p),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(96, 5),
    )


class Mixed(nn.Module):
    """Operations that must be dense under the compiler, next to others that can be packed."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 32, 3, padding=1), nn.Conv2d(32, 32, 3, padding=1)
        self.third, self.last = nn.Conv2d(64, 32, 1), nn.Conv2d(16, 4, 1, bias=False)
        self.drops = nn.ModuleList([exact() for _ in range(4)])
        self.groups = Drop("b (g k) h w -> b g", 0.5, exact="g", k=4)
        self.values, self.theirs, self.ours = Dropout(0.3), nn.Dropout2d(0.3), SpatialDropout2d(0.3)

    def forward(self, x: Tensor, factor: float = 1.0) -> Tensor:
        x = self.drops[0](torch.sigmoid(self.first(x)))
        y = self.drops[1](x + self.groups(self.second(self.values(x))))
        z = self.drops[2](torch.cat([x, self.theirs(y)], 1)) * factor
        low, high = self.drops[3](self.ours(self.third(z))).chunk(2, 1)
        out: Tensor = self.last(low * high)
        return out


def batch_norm() -> nn.Module:
    """Share one mask in the batch, so that BatchNorm need not see what is dropped after it."""
    return nn.Sequential(
        nn.Conv2d(3, 20, 3), nn.BatchNorm2d(20), nn.ReLU(), exact(4), nn.Conv2d(20, 6, 3)
    )


class Nested(nn.Module):
    """Two drops keep different numbers of maps together; one of them is also read alone."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.outer, self.inner = nn.Conv2d(3, 32, 3), exact(), exact(2, 0.25)
        self.one, self.other = nn.Conv2d(32, 6, 3), nn.Conv2d(32, 6, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.outer(self.first(x))
        out: Tensor = self.one(self.inner(torch.relu(y))) + self.other(y)
        return out


def transposed() -> nn.Module:
    return nn.Sequential(
        nn.ConvTranspose2d(3, 32, 2, stride=2),
        nn.GELU(),
        exact(2),
        nn.Conv2d(32, 32, 3, padding=1, groups=32),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 5, 3, padding="same", padding_mode="reflect"),
    )


MODELS: dict[str, Callable[[], nn.Module]] = {
    "a mask for each sample": stack,
    "a mask for two": lambda: stack(2),
    "a mask for the batch": lambda: stack(4),
    "few": lambda: stack(2, 0.9),
    "everything dropped": lambda: stack(2, 1.0),
    "nothing dropped": lambda: stack(2, 0.0),
    "seeded": lambda: seeded(stack(2), 5),
    "mixed": Mixed,
    "batch norm": batch_norm,
    "nested": Nested,
    "transposed": transposed,
}
WHOLE = {"everything dropped", "nothing dropped"}


def made(name: str) -> nn.Module:
    torch.manual_seed(3)
    return MODELS[name]().double()


def convolved(found: list[tuple[int, ...]]) -> Any:
    """Return a backend that notes the shapes of all convolution weights, and runs the graph."""

    def forward(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        for node in graph.graph.nodes:
            if node.target is torch.ops.aten.convolution.default:
                found.append(tuple(node.args[1].meta["val"].shape))
        return make_boxed_func(graph.forward)

    return aot_autograd(
        fw_compiler=forward, bw_compiler=lambda graph, inputs: make_boxed_func(graph.forward)
    )


@pytest.mark.parametrize("name", MODELS)
def test_one_graph_has_the_results_of_the_model(name: str) -> None:
    torch._dynamo.reset()
    model = made(name)
    fast = compact(copy.deepcopy(model), ALWAYS)
    compiled = torch.compile(fast, backend="aot_eager", fullgraph=True)
    for seed in range(3):
        want, have = Stepped(model), Stepped(compiled)
        check(want, have, (pixels(4, 3, 9, 9),), seed)
    assert skips(fast) == (name not in WHOLE)


@pytest.mark.parametrize("name", MODELS)
def test_on_a_device_no_mask_is_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run eagerly as on a device, where the host would wait. The CPU stands for the device."""
    model = made(name)
    monkeypatch.setattr(SCHEDULE, "_reading_masks_waits", lambda tensors: True)
    monkeypatch.setattr(PatternDrop, "draw", _never)
    fast = compact(copy.deepcopy(model), ALWAYS)
    for seed in range(3):
        check(model, fast, (pixels(4, 3, 9, 9),), seed)
    assert skips(fast) == (name not in WHOLE)
    lines = fast.report(measured=True).lines  # type: ignore[operator]
    assert any(line.measured for line in lines) == (name not in WHOLE)


def test_on_a_device_masks_without_a_fixed_count_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SCHEDULE, "_reading_masks_waits", lambda tensors: True)
    torch.manual_seed(3)
    model = nn.Sequential(nn.Conv2d(3, 40, 3), SpatialDropout2d(0.5), nn.Conv2d(40, 5, 3)).double()
    fast = compact(copy.deepcopy(model), ALWAYS)
    check(model, fast, (pixels(4, 3, 9, 9),), 0)
    assert skips(fast)


def _never(*_: Any) -> None:
    raise AssertionError("the host read a mask")


class Stepped(nn.Module):
    """A model, or the compiled model, under the same parameter names."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.inner = getattr(model, "_orig_mod", model)
        self.call = (model,)

    def forward(self, *x: Tensor) -> Tensor:
        y: Tensor = self.call[0](*x)
        return y


def test_what_is_dropped_is_not_computed() -> None:
    torch._dynamo.reset()
    shapes: list[tuple[int, ...]] = []
    compiled = torch.compile(
        compact(made("a mask for two"), ALWAYS), backend=convolved(shapes), fullgraph=True
    )
    compiled(pixels(4, 3, 9, 9)).sum().backward()
    # 20 of 40 maps and 12 of 24, filled up to multiples of 16; two runs of samples.
    assert shapes == [(32, 3, 3, 3), (32, 3, 3, 3), (16, 32, 3, 3), (16, 32, 3, 3)]
    shapes.clear()
    torch.compile(made("a mask for two"), backend=convolved(shapes))(pixels(4, 3, 9, 9))
    assert shapes == [(40, 3, 3, 3), (24, 40, 3, 3)]


SETTINGS: dict[str, Callable[[Any], object]] = {
    "p": lambda net: setattr(net[2], "p", 0.25),
    "p behind the layer's back": lambda net: net[2].__dict__.update(p=0.2),
    "a drop in eval mode": lambda net: net[2].eval(),
    "padding": lambda net: setattr(net[3], "padding", (1, 1)),
    "stride": lambda net: setattr(net[3], "stride", (1, 1)),
    "a layer replaced": lambda net: net.__setitem__(1, nn.Tanh()),
    "another kind of mask": lambda net: setattr(net[2], "exact", None),
}


@pytest.mark.parametrize("change", SETTINGS.values(), ids=SETTINGS)
def test_changes_after_the_first_call_are_followed(change: Callable[[Any], object]) -> None:
    torch._dynamo.reset()
    net: Any = made("a mask for the batch")
    net = net[:6]  # As far as the second drop, so that one is left to skip for.
    compiled = Stepped(torch.compile(compact(net, ALWAYS), backend="aot_eager", fullgraph=True))
    x, dense = pixels(4, 3, 11, 11), Stepped(net)
    check(dense, compiled, (x,))
    before = outcome(dense, (x,), 1)["output"]
    change(net)
    assert not torch.equal(outcome(dense, (x,), 1)["output"], before)
    for seed in range(2):
        check(dense, compiled, (x,), seed)


def test_norms_in_eval_mode_are_followed() -> None:
    torch._dynamo.reset()
    net = made("batch norm")
    compiled = Stepped(torch.compile(compact(net, ALWAYS), backend="aot_eager", fullgraph=True))
    for _ in range(2):
        check(Stepped(net), compiled, (pixels(4, 3, 6, 6),))
        net[1].eval()  # type: ignore[index]


def test_another_batch_size_is_traced_again() -> None:
    torch._dynamo.reset()
    model = made("a mask for two")
    fast = compact(copy.deepcopy(model), ALWAYS)
    compiled = torch.compile(fast, backend="aot_eager", fullgraph=True)
    for samples in (4, 2, 6):
        check(Stepped(model), Stepped(compiled), (pixels(samples, 3, 9, 9),))
        assert skips(fast)


def test_arguments_are_passed_on() -> None:
    torch._dynamo.reset()
    model = made("mixed")
    compiled = torch.compile(
        compact(copy.deepcopy(model), ALWAYS), backend="aot_eager", fullgraph=True
    )
    for factor in (1.0, 3.0):
        torch.manual_seed(1)
        want = model(pixels(2, 3, 9, 9), factor=factor)
        torch.manual_seed(1)
        torch.testing.assert_close(compiled(pixels(2, 3, 9, 9), factor=factor), want)


def test_inductor() -> None:
    torch._dynamo.reset()
    model = made("a mask for two")
    fast = compact(copy.deepcopy(model), ALWAYS)
    check(Stepped(model), Stepped(torch.compile(fast, fullgraph=True)), (pixels(4, 3, 9, 9),))
    assert skips(fast)


def test_autocast() -> None:
    torch._dynamo.reset()
    model = made("a mask for two").float()
    fast = compact(copy.deepcopy(model), ALWAYS)
    compiled = torch.compile(fast, backend="aot_eager", fullgraph=True)
    x = pixels(4, 3, 9, 9).float()
    found = []
    for one in (model, compiled):
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16):
            found.append(one(x))
    assert found[0].dtype is found[1].dtype is torch.bfloat16
    torch.testing.assert_close(found[1], found[0], rtol=0.05, atol=0.02)
    assert skips(fast)


def test_batch_norm_keeps_the_statistics_of_unused_maps() -> None:
    torch._dynamo.reset()
    model = made("batch norm")
    fast: Any = compact(copy.deepcopy(model), ALWAYS)
    torch.manual_seed(0)
    model(pixels(4, 3, 9, 9))
    torch.manual_seed(0)
    compiled: Any = torch.compile(fast, backend="aot_eager", fullgraph=True)
    compiled(pixels(4, 3, 9, 9))
    there, full = fast[1].running_mean, model[1].running_mean  # type: ignore[index]
    needed = there != 0
    assert int(needed.sum()) == 10
    torch.testing.assert_close(there[needed], full[needed])
