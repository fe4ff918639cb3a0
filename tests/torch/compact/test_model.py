"""A compact model is a view: it does not touch the model, other views, threads or hooks."""

from __future__ import annotations

import builtins
import copy
import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import spectral_norm

from mapdrop.torch import compact
from mapdrop.torch.compact import Costs
from tests.torch.compact.agreement import (
    ALWAYS,
    CLOSE,
    check,
    forced,
    outcome,
    pixels,
    report,
    skips,
)

C = 32
IMAGE = pixels(2, 3, 6, 6)
NEVER = Costs(margin=1e9)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.a, self.b, self.c = nn.Conv2d(3, C, 3), nn.Conv2d(C, C, 3), nn.Conv2d(C, 2, 1)
        self.drop = nn.Dropout2d(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.drop(self.b(self.drop(self.a(x)))))  # type: ignore[no-any-return]


def test_the_model_itself_is_not_changed() -> None:
    net = Net().double()
    before = dict(vars(net))
    fast = forced(net)
    fast(IMAGE)
    assert vars(net) == before
    assert type(net) is Net
    assert type(fast).__name__ == "Net"


def test_a_second_view_leaves_the_first_its_costs() -> None:
    net = Net().double()
    first, second = compact(net, ALWAYS), compact(net, NEVER)
    for one, other in ((first, second), (second, first)):
        check(net, one, (IMAGE,))
        check(net, other, (IMAGE,))
    assert skips(first)
    assert not skips(second)


MADE: dict[str, Callable[[Any], Any]] = {
    "a slice": lambda fast: fast[:2],
    "its class": lambda fast: type(fast)(fast[0], fast[1]),
    "a copy": copy.copy,
    "a deep copy": copy.deepcopy,
}


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_copies_of_a_view(make: Callable[[Any], Any]) -> None:
    made = make(forced(nn.Sequential(nn.Conv2d(3, C, 3), nn.Dropout2d(0.5))))
    plain = nn.Sequential(made[0], made[1]).double()
    check(plain, made, (IMAGE,))
    check(plain.eval(), made.eval(), (IMAGE,))


def test_hooks_for_all_modules_see_dense_arrays() -> None:
    net = Net().double()
    fast = forced(net)
    check(net, fast, (IMAGE,))
    assert skips(fast)
    seen: list[tuple[str, torch.Size]] = []
    handle = register_module_forward_hook(
        lambda module, given, y: seen.append((type(module).__name__, y.shape))
    )
    try:
        net(IMAGE)
        dense = list(seen)
        seen.clear()
        check(net, fast, (IMAGE,))
        assert seen == dense * 2
        assert "hooks for all modules" in str(report(fast))
    finally:
        handle.remove()
    check(net, fast, (IMAGE,))
    assert skips(fast)


def test_a_tensor_of_another_class_warns() -> None:
    class Tagged(Tensor):
        pass

    net = Net().double()
    fast = forced(net)
    tagged = IMAGE.as_subclass(Tagged)
    torch.manual_seed(0)
    want = net(tagged)
    torch.manual_seed(0)
    with pytest.warns(UserWarning, match=r"skips nothing for a Tagged.*x.as_subclass"):
        have = fast(tagged)
    assert type(have) is type(want) is Tagged
    assert torch.equal(have, want)
    assert "Tagged" in str(report(fast))
    fast(tagged)  # Warned of once.
    check(net, fast, (tagged.as_subclass(Tensor),))
    assert skips(fast)


def test_a_parameter_as_input_is_a_plain_tensor() -> None:
    net = Net().double()
    fast = forced(net)
    torch.manual_seed(0)
    want = net(nn.Parameter(IMAGE))
    torch.manual_seed(0)
    torch.testing.assert_close(fast(nn.Parameter(IMAGE)), want, rtol=CLOSE, atol=CLOSE)
    assert skips(fast)


def test_other_threads_run_while_a_model_is_captured() -> None:
    """They see their own functions, models and random numbers."""
    real, problems, captures = builtins.isinstance, [], []
    stop = threading.Event()
    started = threading.Event()

    def others() -> None:
        net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
        want = net(IMAGE.float())
        while not stop.is_set():
            started.set()
            try:
                assert builtins.isinstance is real
                assert torch.equal(net(IMAGE.float()), want)
            except Exception as problem:
                problems.append(problem)
                return

    thread = threading.Thread(target=others)
    thread.start()
    started.wait()
    try:
        for _ in range(5):
            net = Net().double()
            fast = forced(net)
            check(net, fast, (IMAGE,))
            captures.append(skips(fast))
    finally:
        stop.set()
        thread.join()
    assert not problems
    assert all(captures)


def test_callbacks_of_the_garbage_collector_are_not_captured() -> None:
    factors = [1.0]  # Which no capture of a model that reads it could follow.

    def callback(phase: str, info: dict[str, int]) -> None:
        factors.append(float(len(factors)))

    before = gc.get_threshold()
    gc.callbacks.append(callback)
    gc.set_threshold(1)
    try:
        net = Net().double()
        fast = forced(net)
        check(net, fast, (IMAGE,))
        assert skips(fast)
    finally:
        gc.set_threshold(*before)
        gc.callbacks.remove(callback)
    assert gc.isenabled()
    assert len(factors) > 1


def test_two_threads_capture_at_once() -> None:
    found: list[Any] = []
    start = threading.Barrier(3)

    def train(seed: int) -> None:
        net = Net().double()
        fast = forced(net)
        start.wait()
        own = torch.Generator().manual_seed(seed)
        x = torch.randn(2, 3, 6, 6, generator=own, dtype=torch.float64)
        y = fast(x)
        y.sum().backward()
        found.append((skips(fast), all(p.grad is not None for p in net.parameters())))

    threads = [threading.Thread(target=train, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [(True, True)] * 3


class Keeping(Net):
    """A model that stores values for later code: features in a list and a dict, a loss."""

    def __init__(self) -> None:
        super().__init__()
        self.features: list[Tensor] = []
        self.losses: dict[str, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        self.features.append(y)
        self.losses["size"] = y.square().mean()
        return self.c(self.drop(self.b(self.drop(y))))  # type: ignore[no-any-return]


def test_a_forward_stores_values_at_each_call() -> None:
    net, other = Keeping().double(), Keeping().double()
    fast: Any = forced(other)
    for step in range(3):
        for each in (net, fast):
            torch.manual_seed(step)
            each.zero_grad()
            (each(IMAGE).sum() + each.losses["size"]).backward()
        assert len(fast.features) == len(net.features) == step + 1
        torch.testing.assert_close(fast.features[-1], net.features[-1], rtol=CLOSE, atol=CLOSE)
        torch.testing.assert_close(fast.a.weight.grad, net.a.weight.grad, rtol=CLOSE, atol=CLOSE)


class Counting(Net):
    """A model whose code changes its buffers in place."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("average", torch.ones(C, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        self.count.add_(1)  # type: ignore[operator]
        self.average.mul_(0.5)  # type: ignore[operator]
        y = self.drop(self.a(x)) * self.average + self.count
        return self.c(self.drop(self.b(y)))  # type: ignore[no-any-return]


def test_buffers_are_changed_once_a_call() -> None:
    net, other = Counting().double(), Counting().double()
    fast: Any = forced(other)
    for samples in (2, 3, 2, 2):  # Two kinds of calls, each captured once.
        x = pixels(samples, 3, 6, 6)
        want, have = outcome(net, (x,), 0), outcome(fast, (x,), 0)
        torch.testing.assert_close(have, want, rtol=CLOSE, atol=CLOSE)
    assert float(fast.count) == 4
    assert float(fast.average[0, 0, 0]) == 0.0625
    assert skips(fast)


class DropConnect(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight * (torch.rand_like(weight) > 0.3)


def _spectral(net: Any) -> None:
    for layer in (net.a, net.b, net.c):
        spectral_norm(layer)


def _drop_connect(net: Any) -> None:
    for layer in (net.a, net.b, net.c):
        parametrize.register_parametrization(layer, "weight", DropConnect())


@pytest.mark.parametrize("costs", [ALWAYS, NEVER], ids=["skipping", "not skipping"])
@pytest.mark.parametrize("change", [_spectral, _drop_connect])
def test_a_weight_is_computed_as_often_as_in_the_model(
    change: Callable[[Any], None], costs: Costs
) -> None:
    net, other = Net().double(), Net().double()
    for each in (net, other):
        torch.manual_seed(3)
        change(each)
    fast = compact(other, costs)
    for step in range(3):
        want, have = outcome(net, (IMAGE,), step), outcome(fast, (IMAGE,), step)
        torch.testing.assert_close(have, want, rtol=CLOSE, atol=CLOSE)
    for (name, one), (_, two) in zip(net.named_buffers(), other.named_buffers(), strict=True):
        torch.testing.assert_close({name: two}, {name: one}, rtol=CLOSE, atol=CLOSE)
    assert skips(fast) == (costs is ALWAYS)


class Own(nn.Conv2d):
    """A subclass of a layer, whose settings PyTorch's code reads."""


def test_settings_of_a_subclass_are_followed() -> None:
    net = nn.Sequential(Own(3, C, 3, padding=1), nn.Dropout2d(0.5), Own(C, 4, 3)).double()
    fast = forced(net)
    check(net, fast, (IMAGE,))
    assert skips(fast)
    before = fast(IMAGE).shape
    net[0].padding = (0, 0)  # type: ignore[assignment]
    check(net, fast, (IMAGE,))
    assert fast(IMAGE).shape != before
    assert skips(fast)


def test_a_rate_that_changes_with_every_step() -> None:
    net = Net().double()
    fast: Any = forced(net)
    for step in range(24):
        net.drop.p = 0.02 * (step + 1)
        check(net, fast, (IMAGE,), step)
    assert "changes with nearly every call" in str(report(fast))
    check(net, fast, (IMAGE,))
    check(net, fast, (IMAGE,))
