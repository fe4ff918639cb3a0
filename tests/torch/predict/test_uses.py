"""predict() in odd uses, each of which once gave something else than the plain loop."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from contextlib import redirect_stderr
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everyone knows it by

import mapdrop as md
import mapdrop.rates
from mapdrop.torch import predict
from tests.torch.compact.agreement import pixels

CLOSE: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-10}
ROWS, TOKENS = pixels(3, 8), pixels(3, 4, 8)
Body = Callable[[Any, Tensor], Any]


class Model(nn.Module):
    """A Linear, a drop layer, and a forward that is given."""

    def __init__(self, body: Body, drop: nn.Module | None = None) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.body = body
        self.lin, self.drop = nn.Linear(8, 8), nn.Dropout(0.5) if drop is None else drop
        self.norm = nn.BatchNorm2d(8, track_running_stats=False)
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.kept: Any = None
        self.double()

    def forward(self, x: Tensor) -> Any:
        return self.body(self, x)


def check(model: Model, x: Tensor, one_mask: str, **options: Any) -> None:
    """Compare the passes with the model alone."""
    plain = copy.deepcopy(model).eval()
    plain.drop.train()
    given = x.clone()
    found = predict(model, x, 5, seed=3, one_mask=one_mask, keep_samples=True, **options)
    assert torch.equal(x, given)
    rows = x.split(1) if one_mask == "batch" else (x,)
    want = []
    for seed in found.seeds:
        results = []
        for row in rows:
            torch.manual_seed(seed)
            with torch.no_grad():
                results.append(plain(row.clone()))
        want.append(torch.cat(results))
    torch.testing.assert_close(found.samples, torch.stack(want), **CLOSE)
    assert len(found.samples.flatten(1).unique(dim=0)) > 1


def own_drop(pattern: str, **options: Any) -> Callable[[Tensor], Tensor]:
    def run(x: Tensor) -> Tensor:
        dropped: Tensor = md.drop(x, pattern, 0.5, seed=3, **options)
        return dropped

    return run


BODIES: dict[str, tuple[Body, Tensor]] = {
    "more rows than four": (lambda s, x: s.drop(s.lin(x)) * (2 if x.shape[0] > 4 else 1), ROWS),
    "an even number": (lambda s, x: s.drop(s.lin(x)) * (2 if x.shape[0] % 2 == 0 else 1), ROWS),
    "one row": (lambda s, x: s.drop(s.lin(x)) * (2 if x.shape[0] == 1 else 1), ROWS[:1]),
    "one row of some": (lambda s, x: s.drop(s.lin(x)) * (2 if x.shape[0] == 1 else 1), ROWS),
    "centred": (lambda s, x: s.lin(s.drop(x - x.mean(0) / 2)), ROWS),
    "normalised": (lambda s, x: s.lin(s.drop(x / x.abs().max())), ROWS),
    "batch statistics": (lambda s, x: s.drop(s.norm(s.conv(x))), pixels(3, 3, 4, 4)),
    "numbered": (lambda s, x: s.lin(s.drop(x)) + torch.arange(x.shape[0])[:, None], ROWS),
    "augmented": (lambda s, x: s.drop(torch.cat([x, -x])).chunk(2)[0], ROWS),
    "indexed": (lambda s, t: s.lin(s.drop(t))[torch.arange(len(t)), t[:, :, 0].argmax(1)], TOKENS),
    "flipped": (
        lambda s, x: s.drop(s.lin(x)).index_select(0, torch.arange(len(x)).flip(0)) + 1,
        ROWS,
    ),
    "a seed before": (lambda s, x: s.drop(own_drop("b c -> b c")(x)), ROWS),
    "a seed after": (lambda s, x: own_drop("b c -> b c")(s.drop(x)), ROWS),
    "samples by a seed": (lambda s, x: own_drop("b c -> b")(s.drop(x)), ROWS),
    "patches": (lambda s, x: s.drop(s.conv(x).flatten(2).transpose(1, 2)), pixels(3, 3, 4, 4)),
    "patches twice": (
        lambda s, x: s.drop(s.drop(s.conv(x).flatten(2).transpose(1, 2)) + 1),
        pixels(3, 3, 4, 4),
    ),
    "channels last": (
        lambda s, x: s.drop(F.gelu(s.conv(x).permute(0, 2, 3, 1))),
        pixels(3, 3, 4, 4),
    ),
    "a permuted input": (lambda s, t: s.drop(t), TOKENS.transpose(1, 2)),
    "the batch last in memory": (lambda s, t: s.drop(t), pixels(4, 8, 3).permute(2, 0, 1)),
    "length first": (lambda s, t: s.lin(s.drop(t.transpose(0, 1))).transpose(0, 1), TOKENS),
    "overwritten": (lambda s, x: s.drop(s.lin(x.mul_(2))), ROWS),
}


@pytest.mark.parametrize("chunk", [None, 2])
@pytest.mark.parametrize("one_mask", ["sample", "batch"])
@pytest.mark.parametrize(("body", "x"), BODIES.values(), ids=BODIES)
def test_a_model_has_the_passes_of_the_plain_loop(
    body: Body, x: Tensor, one_mask: str, chunk: int | None
) -> None:
    check(Model(body), x, one_mask, chunk=chunk)


@pytest.mark.parametrize("one_mask", ["sample", "batch"])
def test_a_drop_of_the_input_in_place_leaves_it(one_mask: str) -> None:
    check(Model(lambda s, x: s.lin(s.drop(x)), nn.Dropout(0.5, inplace=True)), ROWS, one_mask)


@pytest.mark.parametrize("pattern", ["t b c -> t", "t b c -> b", "t b c -> b c"])
def test_samples_that_are_not_in_front(pattern: str) -> None:
    def body(s: Any, t: Tensor) -> Any:
        return s.lin(s.drop(s.lin(t).transpose(0, 1))).transpose(0, 1)

    check(Model(body, md.torch.Drop(pattern, 0.5)), TOKENS, "sample")


@pytest.mark.parametrize("one_mask", ["sample", "batch"])
def test_a_scheduled_rate_is_the_present_one(one_mask: str) -> None:
    model = Model(lambda s, x: s.lin(s.drop(s.lin(x))), md.torch.Dropout(0.5))
    schedule = md.torch.schedule(model, md.rates.linear(0.2, 1.5, steps=2), None)
    for _ in range(3):
        plain = Model(model.body, md.torch.Dropout(model.drop.p))  # type: ignore[arg-type]
        found, want = (
            predict(net, ROWS, 4, seed=1, one_mask=one_mask, keep_samples=True).samples
            for net in (model, plain)
        )
        torch.testing.assert_close(found, want, **CLOSE)
        assert len(found.flatten(1).unique(dim=0)) > 1
        schedule.step()
    schedule.remove()


def test_a_rate_of_0_is_not_for_ever() -> None:
    model = Model(lambda s, x: s.lin(F.dropout(s.drop(s.lin(x)), 0.1, s.training)))
    model.drop = md.torch.Dropout(0.5)
    want = predict(model, ROWS, 9, seed=1).std.mean()
    schedule = md.torch.schedule(model, lambda step, p: (0.0, p)[step], None)
    assert predict(model, ROWS, 9, seed=1).std.mean() < want
    schedule.step()
    torch.testing.assert_close(predict(model, ROWS, 9, seed=1).std.mean(), want, **CLOSE)
    schedule.remove()


def test_a_scheduled_rate_of_0_is_no_dropout() -> None:
    model = Model(lambda s, x: s.lin(s.drop(s.lin(x))), md.torch.Dropout(0.5))
    rates = (0.5, 0.0, 0.5)
    schedule = md.torch.schedule(model, lambda step, p: rates[step], None)
    first = predict(model, ROWS, 9, seed=1).std
    schedule.step()
    with pytest.raises(ValueError, match="draws no random numbers"):
        predict(model, ROWS, 9, seed=1)
    schedule.step()
    torch.testing.assert_close(predict(model, ROWS, 9, seed=1).std, first, **CLOSE)
    schedule.remove()


# --- What a model keeps of what it computes.


def test_what_a_forward_stores_is_that_of_a_pass() -> None:
    def body(s: Any, x: Tensor) -> Any:
        if s.kept is None:
            s.kept = torch.arange(8.0).sin().double()
        s.seen = s.drop(s.lin(x + s.kept))
        return s.seen

    model: Any = Model(body)
    found: list[Tensor] = []
    model.lin.register_forward_hook(lambda module, args, result: found.append(result))
    passes = predict(model, ROWS, 4, seed=1, keep_samples=True)
    assert model.kept.shape == (8,)
    assert any(torch.equal(model.seen, one) for one in passes.samples)
    assert found
    assert all(one.shape == (3, 8) for one in found)
    again = predict(model, ROWS, 4, seed=1)
    torch.testing.assert_close(again.mean, passes.mean, **CLOSE)


def test_counters_of_a_drop_layer_are_set_back() -> None:
    class CountedDrop(nn.Module):
        calls: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                self.calls += 1
            return F.dropout(x, 0.5, self.training)

    model: Any = Model(lambda s, x: s.drop(s.lin(x)), CountedDrop())
    assert predict(model, ROWS, 3).std.any()
    assert model.drop.calls == 0


def test_what_a_module_does_in_eval_is_done() -> None:
    class Merged(nn.Module):
        """Keeps a product of weights for inference, as adapters do."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.eye(8).double())
            self.merged: Any = None

        def train(self, mode: bool = True) -> Any:
            self.merged = None if mode else self.weight * 2
            return super().train(mode)

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.weight * 2 if self.training else F.linear(x, self.merged)

    model: Any = nn.Sequential(Merged(), nn.Dropout(0.5)).train()
    assert predict(model, ROWS, 3).std.any()
    assert model.training
    assert model[0].merged is None


# --- What is on, and what is not.


@pytest.mark.parametrize(
    "drop",
    [
        lambda s, x: torch.dropout(x, 0.5, s.training),
        lambda s, x: torch.dropout_(x.clone(), 0.5, s.training),
        lambda s, x: torch.feature_dropout_(x.clone(), 0.5, s.training),
        lambda s, x: torch.native_dropout(x, 0.5, s.training)[0],
        lambda s, x: torch.ops.aten.dropout(x, 0.5, s.training),
        lambda s, x: F.alpha_dropout(x, 0.5, s.training),
    ],
)
def test_functions_that_heed_the_mode_are_on(drop: Body) -> None:
    found = predict(Model(lambda s, x: drop(s, s.lin(x)), nn.Identity()), ROWS, 4)
    assert found.std.any()


def test_a_default_that_is_off_stays_off() -> None:
    found = predict(Model(lambda s, x: s.drop(x) * 0 + F.alpha_dropout(s.lin(x), 0.5)), ROWS, 4)
    assert not found.std.any()


def test_other_modules_are_on_if_asked_for() -> None:
    class Attention(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            p = 0.5 if self.training else 0.0
            return F.scaled_dot_product_attention(x, x, x, dropout_p=p)

    model: Any = Model(lambda s, t: s.attend(s.lin(t)), nn.Identity())
    model.attend = Attention()
    with pytest.raises(ValueError, match="draws no random numbers"):
        predict(model, TOKENS)
    assert predict(model, TOKENS, active=lambda m: isinstance(m, Attention)).std.any()
    assert model.attend.training


def test_statistics_of_the_model_stay() -> None:
    class AttentionGate(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", torch.zeros(8).double())
            self.register_buffer("var", torch.ones(8).double())

        def forward(self, x: Tensor) -> Tensor:
            return F.batch_norm(x, self.mean, self.var, training=self.training)  # type: ignore[arg-type]

    model: Any = Model(lambda s, x: s.drop(s.gate(x)))
    model.gate = AttentionGate()
    check(model, ROWS, "sample")
    assert not model.gate.mean.any()


# --- What is returned.


def test_infinite_and_large_whole_values() -> None:
    def body(s: Any, x: Tensor) -> Any:
        y = s.drop(x)
        return y.masked_fill(x > 0, -float("inf")), (y * 0).long() + 2**24 + 1

    found = predict(Model(body), ROWS, 5)
    assert (found.mean[0][ROWS > 0] == -float("inf")).all()
    assert not found.std[0][ROWS > 0].any()
    assert (found.mean[1] == 2**24 + 1).all()


def test_numbers_and_shapes_that_vary_are_refused() -> None:
    with pytest.raises(TypeError, match="numbers that differ from pass to pass"):
        predict(Model(lambda s, x: (s.drop(x), s.drop(x).mean().item())), ROWS)

    def shapes(s: Any, x: Tensor) -> Any:
        y = s.drop(s.lin(x))
        return y[:1] if float(y[0, 0]) > 0 else y

    with pytest.raises(ValueError, match="other shapes from pass to pass"):
        predict(Model(shapes), ROWS)


def test_drops_of_some_rows_only() -> None:
    def body(s: Any, x: Tensor) -> Any:
        y = s.lin(x)
        return s.drop(y) if float(y.detach().sum()) > 0 else y

    found = predict(Model(body), ROWS, 6, one_mask="batch").std
    assert found.any()
    assert not found.any(1).all()


@pytest.mark.parametrize("where", ["input", "model", "call"])
def test_inference_mode(where: str) -> None:
    model, x = Model(lambda s, x: s.drop(s.lin(x))), ROWS
    want = predict(model, x, 4, seed=1).mean
    with torch.inference_mode():
        if where == "input":
            x = ROWS.clone()
        elif where == "model":
            model = Model(lambda s, x: s.drop(s.lin(x)))
        else:
            torch.testing.assert_close(predict(model, x, 4, seed=1).mean, want, **CLOSE)
    torch.testing.assert_close(predict(model, x, 4, seed=1).mean, want, **CLOSE)


def test_a_reason_is_one_line_and_the_compiler_is_silent() -> None:
    text = io.StringIO()
    with redirect_stderr(text):
        found = predict(Model(lambda s, x: s.drop(x) * float(x.sum())), ROWS, 3)
        predict(Model(lambda s, x: torch.stack(s.drop(x).unbind(0))), ROWS, 3)
    assert found.reason
    assert "\n" not in found.reason
    assert "Error" not in text.getvalue()
