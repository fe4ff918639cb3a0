"""Rates that follow a training: who steps, what each layer gets, resumed runs, and copies."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam
from torch.utils.checkpoint import checkpoint

from mapdrop import rates
from mapdrop.torch import (
    Drop,
    DropBlock2d,
    Dropout,
    DropPath,
    SpatialDropout2d,
    schedule,
    seeded,
)
from mapdrop.torch.schedule import RateSchedule

X = torch.linspace(-1, 1, 6 * 3 * 81, dtype=torch.float64).reshape(6, 3, 9, 9)
RAMP = rates.linear(0, 1, 4)


class Block(nn.Module):
    """A residual branch around a layer of PyTorch's own, with a rate of its own."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.norm, self.linear, self.path = nn.LayerNorm(9), nn.Linear(9, 9), DropPath(p)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.path(self.linear(self.norm(x)))
        return y


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        SpatialDropout2d(0.4),
        DropBlock2d(0.2, 3),
        Block(0),
        Block(0.6),
    ).double()


def layers(net: nn.Module) -> list[Drop]:
    return [layer for layer in net.modules() if isinstance(layer, Drop)]


def ps(net: nn.Module) -> list[float]:
    return [layer.p for layer in layers(net)]


def train(net: nn.Module, optimizer: torch.optim.Optimizer) -> Tensor:
    """Do a step of a training, and return the model's output."""
    optimizer.zero_grad()
    y: Tensor = net(X)
    y.square().mean().backward()
    optimizer.step()
    return y.detach()


def test_each_layers_rate_follows_its_own() -> None:
    net = model()
    ramp = schedule(net, RAMP, None)
    for step in range(6):
        share = min(1, step / 4)
        assert ps(net) == pytest.approx([0.4 * share, 0.2 * share, 0, 0.6 * share], rel=1e-15)
        assert list(ramp.rates.values()) == ps(net)
        assert ramp.steps == step
        ramp.step()
    assert list(ramp.rates) == ["1", "2", "3.path", "4.path"]


def test_one_rate_for_all_layers() -> None:
    net = model()
    ramp = schedule(net, lambda step, p: 0.1 * step, None)
    ramp.step()
    assert ps(net) == [0.1] * 4


def test_some_layers_only() -> None:
    net = model()
    paths = nn.ModuleList([m for m in net.modules() if isinstance(m, DropPath)])
    ramp = schedule(paths, RAMP, None)
    ramp.step()
    assert ps(net) == [0.4, 0.2, 0, 0.15]


def test_what_is_dropped_is_what_the_rate_says() -> None:
    """By hand: the masks of layers that were given each rate, of one seed."""
    net, other = seeded(model(), 7), seeded(model(), 7)
    ramp = schedule(net, RAMP, None)
    outputs = []
    for step in range(6):
        for layer, p in zip(layers(other), (0.4, 0.2, 0, 0.6), strict=True):
            layer.p = p * min(1, step / 4)
        outputs.append(net(X))
        assert torch.equal(outputs[-1], other(X))
        ramp.step()
    dropped = [float((y[:, :, 0, 0] == outputs[0][:, :, 0, 0]).double().mean()) for y in outputs]
    assert dropped[0] == 1 > dropped[-1]  # Nothing was dropped at first.


@pytest.mark.parametrize("kind", [SGD, Adam])
def test_each_step_of_the_optimizer_is_one(kind: Callable[..., torch.optim.Optimizer]) -> None:
    net = model()
    optimizer = kind(net.parameters(), lr=0.01)
    ramp = schedule(net, RAMP, optimizer)
    for step in range(1, 4):
        net(X).sum().backward()  # Accumulated gradients are no step.
        train(net, optimizer)
        assert ramp.steps == step
        assert layers(net)[0].p == pytest.approx(0.1 * step, rel=1e-15)
    with pytest.raises(RuntimeError, match=r"steps by itself.*leave step\(\) out"):
        ramp.step()
    assert ramp.steps == 3


@pytest.mark.compiler
def test_a_compiled_step_of_the_optimizer_is_one_too() -> None:
    net = model()
    optimizer = SGD(net.parameters(), lr=0.01)
    ramp = schedule(net, RAMP, optimizer)
    step = torch.compile(optimizer.step, backend="eager")
    for number in (1, 2, 3):
        net(X).sum().backward()
        step()
        assert ramp.steps == number


def test_removed() -> None:
    net = model()
    optimizer = SGD(net.parameters(), lr=0.01)
    ramp = schedule(net, RAMP, optimizer)
    train(net, optimizer)
    ramp.remove()
    assert ps(net) == [0.4, 0.2, 0, 0.6]
    train(net, optimizer)
    layers(net)[0].p = 0.3
    assert ps(net) == [0.3, 0.2, 0, 0.6]
    with pytest.raises(RuntimeError, match="was removed: make a new one"):
        ramp.step()
    again = schedule(net, RAMP, None)
    again.step()
    assert layers(net)[0].p == pytest.approx(0.075, rel=1e-15)


def test_a_rate_that_is_set_past_the_schedule_is_refused() -> None:
    net = model()
    schedule(net, RAMP, None)
    for name in ("p", "drop_prob"):
        with pytest.raises(AttributeError, match=r"follows a schedule.*remove\(\)"):
            setattr(layers(net)[0], name, 0.3)
    assert ps(net) == [0, 0, 0, 0]
    layers(net)[0].scale = None  # What is no rate may be set.


COPIES: dict[str, Callable[[Any], Any]] = {
    "copied": copy.deepcopy,
    "pickled": lambda net: pickle.loads(pickle.dumps(net)),
}


@pytest.mark.parametrize("make", COPIES.values(), ids=COPIES)
def test_a_copy_keeps_its_rates_and_is_free(make: Callable[[Any], Any]) -> None:
    net = model()
    ramp = schedule(net, RAMP, None)
    ramp.step()
    other = make(net)
    ramp.step()
    assert ps(other) == pytest.approx([0.1, 0.05, 0, 0.15], rel=1e-15)
    layers(other)[0].p = 0.5
    schedule(other, RAMP, None)
    assert ps(net) == pytest.approx([0.2, 0.1, 0, 0.3], rel=1e-15)


def test_a_shallow_copy_of_a_layer_is_free_too() -> None:
    layer = Dropout(0.4)
    ramp = schedule(nn.Sequential(layer), RAMP, None)
    ramp.step()
    other = copy.copy(layer)
    ramp.step()
    assert (layer.p, other.p) == (0.2, 0.1)
    dropped = float((other(torch.ones(100_000)) == 0).double().mean())
    assert dropped == pytest.approx(other.p, abs=0.01)
    other.p = 0.5


def run(steps: int, state: dict[str, Any] | None = None) -> tuple[list[Any], dict[str, Any]]:
    """Train for some steps, from a state on; return what happened and the state after it."""
    net = seeded(model(), 7)
    optimizer = Adam(net.parameters(), lr=0.01)
    ramp = schedule(net, rates.linear(0.1, 1, 7), optimizer)
    if state is not None:
        net.load_state_dict(state["net"])
        optimizer.load_state_dict(state["optimizer"])
        ramp.load_state_dict(state["schedule"])
    seen: list[Any] = []
    for _ in range(steps):
        seen += [ps(net), train(net, optimizer)]
    file = io.BytesIO()
    parts: dict[str, Any] = {"net": net, "optimizer": optimizer, "schedule": ramp}
    torch.save({name: part.state_dict() for name, part in parts.items()}, file)
    file.seek(0)
    loaded: dict[str, Any] = torch.load(file, weights_only=True)
    return seen, loaded


def test_a_run_that_is_resumed_is_the_undisturbed_one() -> None:
    undisturbed, _ = run(8)
    first, state = run(3)
    torch.manual_seed(99)  # What is drawn elsewhere does not count.
    rest, _ = run(5, state)
    for one, other in zip(first + rest, undisturbed, strict=True):
        assert torch.equal(torch.as_tensor(one), torch.as_tensor(other))
    without = {**state, "schedule": {"steps": 0, "own": state["schedule"]["own"]}}
    wrong, _ = run(5, without)
    assert wrong[0] != rest[0]
    assert not torch.equal(wrong[1], rest[1])


def test_a_state_of_other_own_rates_counts_and_warns() -> None:
    net, other = model(), model()
    ramp, saved = schedule(net, RAMP, None), schedule(other, RAMP, None)
    ramp.step()
    state = {"steps": 2, "own": {**saved.state_dict()["own"], "1": 0.8}}
    with pytest.warns(UserWarning, match=r"saved count: 0\.8 and not 0\.4 in '1'"):
        saved.load_state_dict(state)
    assert saved.rates == pytest.approx({"1": 0.4, "2": 0.1, "3.path": 0, "4.path": 0.3})
    assert saved.state_dict() == state


STATES: dict[str, tuple[Any, str]] = {
    "nothing": ({}, "has steps and own, not {}"),
    "no state": (3, "has steps and own, not 3"),
    "other layers": (
        {"steps": 1, "own": {"1": 0.4, "head": 0.1}},
        "other layers: '2', '3.path'.*head",
    ),
    "negative": ({"steps": -1, "own": {}}, "steps"),
}


@pytest.mark.parametrize(("state", "words"), STATES.values(), ids=STATES)
def test_what_is_no_state(state: Any, words: str) -> None:
    ramp = schedule(model(), RAMP, None)
    with pytest.raises(ValueError, match=words):
        ramp.load_state_dict(state)
    assert ramp.state_dict() == {
        "steps": 0,
        "own": {"1": 0.4, "2": 0.2, "3.path": 0, "4.path": 0.6},
    }


WRONG: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "no module": (lambda: schedule(3, RAMP, None), TypeError, "takes a torch.nn.Module, not int"),  # type: ignore[arg-type]
    "no function": (lambda: schedule(model(), 0.1, None), TypeError, "rate is a function.*not 0.1"),  # type: ignore[arg-type]
    "no optimizer": (
        lambda: schedule(model(), RAMP, "adam"),  # type: ignore[arg-type]
        TypeError,
        "optimizer is a torch.optim.Optimizer, or None.*not str",
    ),
    "no layer": (
        lambda: schedule(nn.Linear(3, 3), RAMP, None),
        ValueError,
        "has no layer of mapdrop",
    ),
    "only PyTorch's": (
        lambda: schedule(nn.Sequential(nn.Dropout2d(0.1)), RAMP, None),
        ValueError,
        "no layer of mapdrop.*has Dropout2d '0', which it cannot change",
    ),
    "all 0": (lambda: schedule(DropPath(0.0), RAMP, None), ValueError, "own rates are 0, and so"),
    "too much": (
        lambda: schedule(model(), rates.linear(2, 0, 5), None),
        ValueError,
        r"rate\(0, 0.6\), for layer '4.path', is the fraction to drop, from 0 to 1, not 1.2",
    ),
    "no number": (
        lambda: schedule(model(), lambda step, p: None, None),  # type: ignore[arg-type, return-value]
        TypeError,
        "for layer '1', is the fraction to drop",
    ),
}


@pytest.mark.parametrize(("make", "kind", "words"), WRONG.values(), ids=WRONG)
def test_what_is_no_schedule(make: Callable[[], Any], kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        make()


def test_a_step_to_a_wrong_rate_changes_nothing() -> None:
    net = model()
    ramp = schedule(net, lambda step, p: p * 0.5 + step, None)
    before = ps(net)
    with pytest.raises(ValueError, match=r"not 1\.2"):
        ramp.step()
    assert (ps(net), ramp.steps) == (before, 0)


def test_layers_have_one_schedule() -> None:
    net = model()
    schedule(net[3:], RAMP, None)
    before = ps(net)
    with pytest.raises(ValueError, match=r"'3.path', '4.path' have a schedule.*remove\(\)"):
        schedule(net, RAMP, None)
    assert ps(net) == before


class OthersPath(nn.Module):
    """Drop path as timm and transformers have it."""

    def __init__(self, drop_prob: float) -> None:
        super().__init__()
        self.drop_prob = drop_prob


def test_dropout_of_other_libraries_is_named() -> None:
    net = nn.Sequential(
        Dropout(0.1), nn.Dropout(0.2), nn.Dropout(0.0), OthersPath(0.1), OthersPath(0)
    )
    with pytest.warns(UserWarning, match="does not change Dropout '1', OthersPath '3': replace"):
        schedule(net, RAMP, None)
    encoder: Any = nn.TransformerEncoderLayer(16, 2, dropout=0.1)
    encoder.dropout = Dropout(0.1)
    with pytest.warns(UserWarning, match=r"Dropout 'dropout1', Dropout 'dropout2'"):
        schedule(encoder, RAMP, None)


def test_a_recomputed_layer_has_its_rate() -> None:
    """The usual loop: a step comes after backward."""
    found = []
    for recomputed in (False, True):
        net = seeded(model(), 7)
        optimizer = SGD(net.parameters(), lr=0.01)
        schedule(net, rates.linear(0.2, 1, 3), optimizer)
        for _ in range(3):
            optimizer.zero_grad()
            y = checkpoint(net, X, use_reentrant=False) if recomputed else net(X)
            y.square().mean().backward()
            optimizer.step()
        found.append([p.detach() for p in net.parameters()])
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def test_backward_has_the_rate_of_its_forward() -> None:
    net = DropPath(0.5)
    ramp = schedule(net, rates.linear(1, 0, 2), None)
    x = torch.ones(64, 3, dtype=torch.float64, requires_grad=True)
    y = net(x)
    ramp.step()
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(gradient, y.detach())
    assert set(gradient.unique().tolist()) == {0.0, 2.0}


def test_names_in_which_wrappers_do_not_count() -> None:
    net = model()
    wrapped = torch.compile(net, backend="eager")
    ramp = schedule(wrapped, RAMP, None)  # type: ignore[arg-type]
    assert isinstance(ramp, RateSchedule)
    assert list(ramp.rates) == ["1", "2", "3.path", "4.path"]


# --- Optimizers of other kinds.


class Wrapped(torch.optim.Optimizer):
    """As accelerate's: it does not call its base's __init__."""

    def __init__(self, inner: torch.optim.Optimizer) -> None:
        self.inner = inner


class Clipped(Adam):
    """Its step calls that of its base, so that PyTorch calls the hooks of both."""

    def step(self, closure: Any = None) -> Any:
        return super().step(closure)


def test_an_optimizer_that_tells_nothing_is_refused_and_leaves_the_layers() -> None:
    net = nn.Sequential(nn.Linear(4, 4), Dropout(0.5))
    inner = SGD(net.parameters(), 0.1)
    with pytest.raises(TypeError, match="Wrapped does not tell its steps: give schedule"):
        schedule(net, rates.late(10), Wrapped(inner))
    assert net[1].p == 0.5
    ramp = schedule(net, rates.late(10), inner)
    assert net[1].p == 0
    ramp.remove()


def test_a_step_that_calls_another_counts_once() -> None:
    net = nn.Sequential(nn.Linear(4, 4), Dropout(0.5))
    Adam(net.parameters())
    optimizer = Clipped(net.parameters())
    ramp = schedule(net, rates.linear(0, 1, 10), optimizer)
    for number in range(3):
        net(torch.ones(2, 4)).sum().backward()
        optimizer.step()
        assert ramp.steps == number + 1


@pytest.mark.parametrize("fused", [True, False])
def test_a_step_that_the_scaler_leaves_out_does_not_count(fused: bool) -> None:
    net = nn.Sequential(nn.Linear(4, 4), Dropout(0.5))
    optimizer = torch.optim.AdamW(net.parameters(), fused=fused)
    scaler, ramp = torch.amp.GradScaler("cpu"), schedule(net, rates.linear(0, 1, 10), optimizer)
    for factor, steps in ((float("inf"), 0), (float("inf"), 0), (1.0, 1)):
        optimizer.zero_grad()
        scaler.scale(net(torch.ones(2, 4)).sum() * factor).backward()
        scaler.step(optimizer)
        scaler.update()
        assert ramp.steps == steps


def test_a_step_after_one_that_raised_counts() -> None:
    net = nn.Sequential(nn.Linear(4, 4), Dropout(0.5))
    optimizer = SGD(net.parameters(), 0.1)
    ramp = schedule(net, rates.linear(0, 1, 10), optimizer)

    def fails() -> float:
        raise OSError("no data")

    with pytest.raises(OSError, match="no data"):
        optimizer.step(fails)
    assert ramp.steps == 0
    optimizer.step()
    assert ramp.steps == 1


@pytest.mark.parametrize(
    "other", [nn.LSTM(4, 4, 2, dropout=0.3), nn.MultiheadAttention(4, 2, dropout=0.2)]
)
def test_dropout_inside_pytorchs_layers_is_told(other: nn.Module) -> None:
    net = nn.ModuleList([Dropout(0.5), other])
    with pytest.warns(UserWarning, match=type(other).__name__):
        schedule(net, RAMP, None).remove()


def test_a_block_that_only_keeps_its_rate_is_not_told() -> None:
    block: Any = Block(0.2)
    block.drop_prob = 0.2
    schedule(block, RAMP, None).remove()


def test_a_removed_schedule_takes_no_state() -> None:
    net = nn.Sequential(Dropout(0.5))
    ramp = schedule(net, RAMP, None)
    state = ramp.state_dict()
    with pytest.raises(ValueError, match="the state of a schedule has steps and own"):
        ramp.load_state_dict({"steps": 2, "own": 3})
    ramp.remove()
    with pytest.raises(RuntimeError, match="was removed"):
        ramp.load_state_dict(state)


def test_tracing_would_keep_the_rate() -> None:
    net = nn.Sequential(Dropout(0.5)).train()
    ramp = schedule(net, RAMP, None)
    ramp.step()
    with pytest.raises(RuntimeError, match="would keep the present rate"):
        torch.jit.trace(net, torch.ones(2, 4), check_trace=False)
    torch.jit.trace(net.eval(), torch.ones(2, 4))
    ramp.remove()
