"""If anything that a forward reads changes, the result is still the model's."""

from __future__ import annotations

import copy
import enum
import functools
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from types import MethodType, ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mapdrop.torch.graph.guards import Guards
from tests.torch.compact.agreement import check, forced, outcome, pixels, report, skips

C = 32
IMAGE = pixels(2, 3, 6, 6)
FACTOR = 1.0
FACTORS = [1.0]
SETTINGS = ModuleType("settings_of_a_user")
SETTINGS.factor = 1.0  # type: ignore[attr-defined]


class Base(nn.Module):
    """A subclass reads a factor somewhere, which scales the array between two drops."""

    kind_factor = 1.0

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.a, self.b, self.c = nn.Conv2d(3, C, 3), nn.Conv2d(C, C, 3), nn.Conv2d(C, 2, 1)
        self.drop = nn.Dropout2d(0.5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.drop(self.a(x)) * self.factor_now()
        return self.c(self.drop(self.b(y)))  # type: ignore[no-any-return]

    def factor_now(self) -> Any:
        raise NotImplementedError


class Mode(enum.Enum):
    PLAIN = 1.0
    TWICE = 2.0


@dataclass
class Config:
    factor: float = 1.0
    deeper: dict[str, list[float]] = field(default_factory=lambda: {"factors": [1.0]})


class Calling:
    def __init__(self) -> None:
        self.factor = 1.0

    def __call__(self) -> float:
        return self.factor


class Slotted:
    __slots__ = ("factor",)

    def __init__(self) -> None:
        self.factor = 1.0


class Found:
    def __init__(self) -> None:
        self.__dict__["factors"] = {"factor": 1.0}

    def __getattr__(self, name: str) -> Any:
        if name != "factor":
            raise AttributeError(name)
        return self.__dict__["factors"][name]


def times(factor: float) -> float:
    return factor


def remembered(factors: list[float] = [1.0]) -> float:  # noqa: B006 - as people do it
    return factors[0]


Read = Callable[[Any], Any]
Change = Callable[[Any], object]


def _closure() -> tuple[Callable[[], float], Callable[[float], None]]:
    factor = 1.0

    def read() -> float:
        return factor

    def change(new: float) -> None:
        nonlocal factor
        factor = new

    return read, change


READ, REBIND = _closure()
HELD: Any = SimpleNamespace(factor=1.0)


def _global(name: str, value: Any) -> None:
    globals()[name] = value


# name: (what it is made from, what reads it, what changes it, whether maps are skipped)
KINDS: dict[str, tuple[Any, Read, Change, bool]] = {
    "a number": (1.0, lambda m: m.state, lambda m: setattr(m, "state", 3.0), True),
    "a string": ("1.0", lambda m: float(m.state), lambda m: setattr(m, "state", "3.0"), True),
    "a dict": ({"f": 1.0}, lambda m: m.state["f"], lambda m: m.state.update(f=3.0), True),
    "a dict replaced": (
        {"f": 1.0},
        lambda m: m.state["f"],
        lambda m: setattr(m, "state", {"f": 3.0}),
        True,
    ),
    "a nested dict": (
        {"a": {"f": 1.0}},
        lambda m: m.state["a"]["f"],
        lambda m: m.state["a"].update(f=3.0),
        True,
    ),
    "a list": ([1.0], lambda m: sum(m.state), lambda m: m.state.append(2.0), True),
    "a tuple of lists": (
        ([1.0],),
        lambda m: m.state[0][0],
        lambda m: m.state[0].__setitem__(0, 3.0),
        True,
    ),
    "a set": ({1.0}, lambda m: max(m.state), lambda m: m.state.add(3.0), True),
    "a namespace": (
        SimpleNamespace(f=1.0),
        lambda m: m.state.f,
        lambda m: setattr(m.state, "f", 3.0),
        False,
    ),
    "a dataclass": (
        Config(),
        lambda m: m.state.factor,
        lambda m: setattr(m.state, "factor", 3.0),
        True,
    ),
    "what a dataclass holds": (
        Config(),
        lambda m: m.state.deeper["factors"][0],
        lambda m: m.state.deeper["factors"].__setitem__(0, 3.0),
        True,
    ),
    "a callable": (Calling(), lambda m: m.state(), lambda m: setattr(m.state, "factor", 3.0), True),
    "a lambda": (
        lambda: 1.0,
        lambda m: m.state(),
        lambda m: setattr(m, "state", lambda: 3.0),
        True,
    ),
    "an object with slots": (
        Slotted(),
        lambda m: m.state.factor,
        lambda m: setattr(m.state, "factor", 3.0),
        False,
    ),
    "a partial": (
        functools.partial(times, 1.0),
        lambda m: m.state(),
        lambda m: setattr(m, "state", functools.partial(times, 3.0)),
        True,
    ),
    "what a partial holds": (
        functools.partial(max, [1.0]),
        lambda m: m.state(),
        lambda m: m.state.args[0].append(3.0),
        True,
    ),
    "a member of an enum": (
        Mode.PLAIN,
        lambda m: m.state.value,
        lambda m: setattr(m, "state", Mode.TWICE),
        True,
    ),
    "a NumPy scalar": (
        np.float64(1.0),
        lambda m: float(m.state),
        lambda m: setattr(m, "state", np.float64(3.0)),
        False,
    ),
    "a NumPy array": (np.ones(1), lambda m: float(m.state[0]), lambda m: m.state.fill(3.0), False),
    "a tensor": (torch.ones(()), lambda m: m.state, lambda m: m.state.fill_(3.0), False),
    "a tensor as a flag": (
        torch.ones(()),
        lambda m: 3.0 if m.state > 2 else 1.0,
        lambda m: m.state.fill_(3.0),
        False,
    ),
    "None, later a tensor": (
        None,
        lambda m: 1.0 if m.state is None else m.state,
        lambda m: setattr(m, "state", torch.full((), 3.0)),
        True,
    ),
    "a parameter's value": (
        nn.Parameter(torch.ones(())),
        lambda m: m.state.item(),
        lambda m: nn.init.constant_(m.state, 3.0),
        False,
    ),
    "an attribute that may be missing": (
        None,
        lambda m: getattr(m, "more", 1.0),
        lambda m: setattr(m, "more", 3.0),
        True,
    ),
    "an attribute named by a string": (
        None,
        lambda m: getattr(m, "ot" + "her", 1.0),
        lambda m: setattr(m, "other", 3.0),
        False,
    ),
    "the dict of the module": (
        1.0,
        lambda m: m.__dict__["state"],
        lambda m: setattr(m, "state", 3.0),
        True,
    ),
    "an attribute of the class": (
        None,
        lambda m: m.kind_factor,
        lambda m: setattr(type(m), "kind_factor", 3.0),
        True,
    ),
    "an attribute before the class's": (
        None,
        lambda m: m.kind_factor,
        lambda m: setattr(m, "kind_factor", 3.0),
        True,
    ),
    "a method": (
        None,
        lambda m: m.helper(),
        lambda m: setattr(m, "helper", MethodType(lambda self: 3.0, m)),
        True,
    ),
    "a method of the class": (
        None,
        lambda m: m.helper(),
        lambda m: setattr(type(m), "helper", lambda self: 3.0),
        True,
    ),
    "a property": (1.0, lambda m: m.doubled, lambda m: setattr(m, "state", 3.0), True),
    "__getattr__": (
        Found(),
        lambda m: m.state.factor,
        lambda m: m.state.factors.update(factor=3.0),
        True,
    ),
    "a global": (None, lambda m: FACTOR, lambda m: _global("FACTOR", 3.0), True),
    "a list that is a global": (
        None,
        lambda m: FACTORS[0],
        lambda m: FACTORS.__setitem__(0, 3.0),
        False,
    ),
    "an object that is a global": (
        None,
        lambda m: HELD.factor,
        lambda m: setattr(HELD, "factor", 3.0),
        False,
    ),
    "a global of another module": (
        None,
        lambda m: SETTINGS.factor,
        lambda m: setattr(SETTINGS, "factor", 3.0),
        True,
    ),
    "a closure": (READ, lambda m: m.state(), lambda m: REBIND(3.0), True),
    "a default argument": (
        None,
        lambda m: remembered(),
        lambda m: remembered.__defaults__[0].__setitem__(0, 3.0),  # type: ignore[index]
        False,
    ),
    "an environment variable": (
        None,
        lambda m: float(os.environ.get("MAPDROP_TEST_FACTOR", "1.0")),
        lambda m: os.environ.__setitem__("MAPDROP_TEST_FACTOR", "3.0"),
        False,
    ),
}


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("MAPDROP_TEST_FACTOR", "1.0")
    yield
    _global("FACTOR", 1.0)
    FACTORS[0] = HELD.factor = remembered.__defaults__[0][0] = 1.0  # type: ignore[index]
    SETTINGS.factor = 1.0  # type: ignore[attr-defined]
    REBIND(1.0)


def made(kind: str) -> nn.Module:
    state, read, _, _ = KINDS[kind]

    class Model(Base):
        def __init__(self) -> None:
            super().__init__()
            self.state = copy.deepcopy(state)

        def factor_now(self) -> Any:
            return read(self)

        def helper(self) -> float:
            return 1.0

        @property
        def doubled(self) -> float:
            return 2.0 * self.state  # type: ignore[no-any-return]

    return Model().double()


@pytest.mark.parametrize("kind", KINDS)
def test_changes_since_the_first_call_are_followed(kind: str) -> None:
    *_, change, followed = KINDS[kind]
    net = made(kind)
    fast = forced(net)
    for seed in range(2):
        check(net, fast, (IMAGE,), seed)
    assert skips(fast) or not followed, report(fast)
    before = outcome(net, (IMAGE,), 0)
    change(net)
    assert not torch.equal(outcome(net, (IMAGE,), 0)["output"], before["output"])
    for seed in range(2):
        check(net, fast, (IMAGE,), seed)
    assert skips(fast) or not followed, report(fast)


class Own(nn.Module):
    """A layer of a user's."""


@pytest.mark.parametrize("layers", [1, 50])
def test_a_class_is_watched_once_for_all_its_modules(layers: int) -> None:
    model = nn.Sequential(*(nn.Sequential(Own(), nn.ReLU()) for _ in range(layers)))
    assert len(Guards(model)._contents) == 1


def test_a_slow_first_call_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mapdrop.torch.graph.compiler._SLOW", 0.0)
    fast = forced(made("a number"))
    fast(IMAGE)
    assert capsys.readouterr().err == ("mapdrop reads the model, once for each kind of call ...\n")
    fast(IMAGE)
    assert capsys.readouterr().err == ""
