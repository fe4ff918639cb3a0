"""What a forward reads and does besides, inside a compiled graph: followed, or the graph breaks."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mapdrop.torch import compact
from tests.torch.compact.agreement import ALWAYS, check, outcome, pixels, skips
from tests.torch.compact.test_under_compile import Stepped, exact

pytestmark = pytest.mark.compiler


class Reads(nn.Module):
    """A forward that reads a number from a place that a compiled graph may or may not follow."""

    kind_factor = 1.0

    def __init__(self, read: Callable[[Any], float]) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.a, self.drop, self.b = nn.Conv2d(3, 40, 3), exact(2), nn.Conv2d(40, 4, 3)
        self.state, self.read, self.factor = {"factors": [1.0]}, read, 1.0
        self.table, self.weights = torch.ones(1), [self.a.weight]
        self._own, self.act, self.kind, self.queue, self.log = 1.0, float, float, deque([1]), [0]
        self.config = SimpleNamespace(factor=1.0, mode=Mode.ONE, log=[0], full=[1] * 99)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.drop(self.a(x))) * self.read(self)  # type: ignore[no-any-return]


class Mode(Enum):
    ONE, THREE = 1.0, 3.0


FACTOR, FACTORS = 1.0, [1.0]


def defaulted(model: Any, factor: float = 1.0) -> float:
    return factor


def around() -> tuple[Callable[[Any], float], Callable[[float], None]]:
    """Return what reads a variable of a function that has returned, and what sets it."""
    factor = 1.0

    def read(model: Any) -> float:
        return factor

    def change(value: float) -> None:
        nonlocal factor
        factor = value

    return read, change


READ, CHANGE = around()

# What is read, what changes it, and whether one graph can follow that.
READS: dict[str, tuple[Callable[[Any], float], Callable[[Any], object], bool]] = {
    "an attribute": (lambda m: m.factor, lambda m: setattr(m, "factor", 3.0), True),
    "a private one": (lambda m: m._own, lambda m: setattr(m, "_own", 3.0), True),
    "a list in a dict": (
        lambda m: m.state["factors"][0],
        lambda m: m.state["factors"].__setitem__(0, 3.0),
        True,
    ),
    "a class's": (lambda m: m.kind_factor, lambda m: setattr(Reads, "kind_factor", 3.0), True),
    "a class's, by an own one": (
        lambda m: m.kind_factor,
        lambda m: setattr(m, "kind_factor", 3.0),
        True,
    ),
    "an object's": (lambda m: m.config.factor, lambda m: setattr(m.config, "factor", 3.0), True),
    "an absent one": (
        lambda m: getattr(m, "absent", 1.0),
        lambda m: setattr(m, "absent", 3.0),
        True,
    ),
    "an object's absent one": (
        lambda m: getattr(m.config, "absent", 1.0),
        lambda m: setattr(m.config, "absent", 3.0),
        True,
    ),
    "a function": (lambda m: m.act(1.0), lambda m: setattr(m, "act", lambda x: 3 * x), True),
    "a type": (lambda m: m.kind(1.6), lambda m: setattr(m, "kind", int), True),
    "a choice": (
        lambda m: m.config.mode.value,
        lambda m: setattr(m.config, "mode", Mode.THREE),
        True,
    ),
    "a tensor's size": (
        lambda m: float(len(m.table)),
        lambda m: setattr(m, "table", torch.ones(3)),
        False,
    ),
    "a parameter in a list": (
        lambda m: m.weights[0].sum(),
        lambda m: m.weights.__setitem__(0, m.b.weight),
        False,
    ),
    "a global": (lambda m: FACTOR, lambda m: globals().update(FACTOR=3.0), True),
    "a global list": (lambda m: FACTORS[0], lambda m: FACTORS.__setitem__(0, 3.0), False),
    "a queue's length": (lambda m: float(len(m.queue)), lambda m: m.queue.append(1), False),
    "a default": (defaulted, lambda m: setattr(defaulted, "__defaults__", (3.0,)), False),
    "a variable around": (READ, lambda m: CHANGE(3.0), False),
}


@pytest.mark.parametrize("case", READS.values(), ids=READS)
def test_values_that_a_forward_reads_are_followed_or_break_the_graph(case: Any) -> None:
    torch._dynamo.reset()
    read, change, followed = case
    net = Reads(read).double()
    fast = compact(net, ALWAYS)
    compiled = Stepped(torch.compile(fast, backend="aot_eager", fullgraph=followed))
    x = pixels(4, 3, 6, 6)
    try:
        check(Stepped(net), compiled, (x,))
        before = outcome(Stepped(net), (x,), 0)["output"]
        assert skips(fast)
        change(net)
        assert not torch.equal(outcome(Stepped(net), (x,), 0)["output"], before)
        check(Stepped(net), compiled, (x,))
    finally:
        Reads.kind_factor = FACTORS[0] = 1.0
        globals().update(FACTOR=1.0)
        defaulted.__defaults__ = (1.0,)
        CHANGE(1.0)


def test_a_variable_around_the_forward_itself_breaks_the_graph() -> None:
    factor = 1.0

    class Inner(Reads):
        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.drop(self.a(x))) * factor  # type: ignore[no-any-return]

    torch._dynamo.reset()
    net = Inner(lambda m: 1.0).double()
    compiled = Stepped(torch.compile(compact(net, ALWAYS), backend="aot_eager"))
    x = pixels(4, 3, 6, 6)
    check(Stepped(net), compiled, (x,))
    factor = 3.0
    check(Stepped(net), compiled, (x,))
    with pytest.raises(torch._dynamo.exc.Unsupported):
        torch.compile(compact(net, ALWAYS), backend="aot_eager", fullgraph=True)(x)


COUNT, LOG = 0, [0]


def count_globally(model: Any) -> float:
    global COUNT
    COUNT += 1
    return 1.0


def logged(log: list[int]) -> float:
    log.append(1)
    return 1.0


# What a forward does besides, and how often it did.
EFFECTS: dict[str, tuple[Callable[[Any], float], Callable[[Any], int]]] = {
    "counts globally": (count_globally, lambda m: COUNT),
    "fills a list of an object": (lambda m: logged(m.config.log), lambda m: len(m.config.log)),
    "fills a list": (lambda m: logged(m.log), lambda m: len(m.log)),
    "fills a queue": (lambda m: logged(m.queue), lambda m: len(m.queue)),
    "empties a list of an object": (
        lambda m: float(m.config.full.pop() > 0),
        lambda m: 99 - len(m.config.full),
    ),
}


@pytest.mark.parametrize("case", EFFECTS.values(), ids=EFFECTS)
def test_what_a_forward_does_besides_is_done_each_time(case: Any) -> None:
    torch._dynamo.reset()
    read, done = case
    net = Reads(read).double()
    before = done(net)
    compiled = torch.compile(compact(net, ALWAYS), backend="aot_eager")
    for _ in range(3):
        compiled(pixels(4, 3, 6, 6))
    assert done(net) - before == 3
