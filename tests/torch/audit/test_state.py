"""The model, its inputs and all generators are left as they are, whatever happens."""

from __future__ import annotations

import copy
import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import mapdrop.torch as md
from tests.torch.audit.models import X3, Functional


class Changing(nn.Module):
    """A model that changes all that a forward can change, and may raise."""

    def __init__(self, raises: bool = False) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.norm, self.drop = nn.BatchNorm1d(10), md.seeded(md.Dropout(0.3), 7)
        self.spectral = nn.utils.parametrizations.spectral_norm(nn.Linear(8, 8))
        self.raises, self.calls = raises, 0
        self.kept: list[Any] = []

    def forward(self, x: Tensor) -> Tensor:
        x += 1
        self.calls += 1
        self.kept.append(x)
        self.last = x
        random.random()
        np.random.rand()
        with torch.no_grad():
            self.linear.weight += 1
        x = self.drop(self.norm(self.linear(x)))
        if self.raises:
            raise KeyError("a fault of the model")
        return self.spectral(x)  # type: ignore[no-any-return]


def state(model: nn.Module) -> Any:
    """All that can be seen of a model, as text and numbers."""
    parts = [(n, copy.deepcopy(vars(m))) for n, m in model.named_modules()]
    hidden = ("_parameters", "_buffers", "_modules", "source", "kept", "last")
    plain = [{k: str(v) for k, v in values.items() if k not in hidden} for _, values in parts]
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    values = {name: (t.tolist(), None if t.grad is None else t.grad.tolist()) for name, t in
              tensors.items()}  # fmt: skip
    return plain, values, dict(model.state_dict()).keys(), sorted(map(str, vars(model)))


def generators() -> Any:
    numbers = np.random.get_state()
    return torch.get_rng_state().tolist(), random.getstate(), str(numbers), torch.is_grad_enabled()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("raises", [False, True])
def test_nothing_is_changed(training: bool, raises: bool) -> None:
    model = Changing(raises).train(training)
    model.linear.weight.grad = torch.ones_like(model.linear.weight)
    model.norm.eval()
    x = X3.clone()
    steps = model.drop.mapdrop_step
    before, drawn = state(model), generators()
    if raises:
        with pytest.raises(KeyError, match="a fault of the model"):
            md.audit(model, x)
    else:
        assert md.audit(model, x).drops
    assert state(model) == before
    assert generators() == drawn
    assert torch.equal(x, X3)
    assert (model.calls, model.kept, model.drop.mapdrop_step) == (0, [], steps)
    assert not any(m._forward_pre_hooks for m in (model, model.drop, model.linear))


def test_the_state_of_a_changing_model_changes_twin() -> None:
    model = Changing()
    before, drawn = state(model), generators()
    model(X3.clone())
    assert state(model) != before
    assert generators() != drawn


def test_two_audits_see_the_same() -> None:
    torch.manual_seed(1)
    first = md.audit(Functional(True), X3)
    torch.manual_seed(2)
    again = md.audit(Functional(True), X3)
    assert first.notes == again.notes
    assert [(d.p, d.shape, d.axes) for d in first.drops] == [
        (d.p, d.shape, d.axes) for d in again.drops
    ]


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_without_gradients_it_sees_the_same(context: Any) -> None:
    with context():
        (drop,) = md.audit(Functional(True), X3).drops
    assert (drop.kind, drop.p) == ("dropout", 0.2)


def test_autocast_is_heeded() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        (drop,) = md.audit(nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.2)), X3).drops
    assert drop.dtype == "bfloat16"


def test_parts_in_eval_mode_stay_so_if_the_model_is_in_training() -> None:
    net = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.2), nn.Dropout(0.3))
    net[1].eval()
    assert [drop.name for drop in md.audit(net, X3).drops] == ["2"]
    assert [drop.name for drop in md.audit(net.eval(), X3).drops] == ["1", "2"]


def test_wrappers_are_looked_through() -> None:
    net = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.2))
    (drop,) = md.audit(nn.DataParallel(net), X3).drops
    assert drop.name == "1"


def test_what_cannot_be_audited_is_refused() -> None:
    not_a_model: Any = torch.relu
    with pytest.raises(TypeError, match=r"takes a torch.nn.Module, not builtin"):
        md.audit(not_a_model, X3)
    model = Changing()
    model(X3.clone())  # It keeps what follows from its parameters, which cannot be copied.
    model.last = model.linear.weight * 2
    with pytest.raises(
        RuntimeError, match=r"copy.deepcopy raises RuntimeError: .*; audit it before"
    ):
        md.audit(model, X3)


def test_a_model_that_raises_in_eval_mode_is_audited_as_far_as_it_runs() -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if not self.training:
                raise ValueError("no labels")
            return nn.functional.dropout(x, 0.3)

    found = md.audit(Net(), X3.clone().requires_grad_())
    assert [drop.p for drop in found.drops] == [0.3]
    assert found.unseen == ("eval mode, where the model raises ValueError: no labels",)
    assert "not seen: eval mode" in str(found)


def test_tensors_without_values_are_refused() -> None:
    net = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.2))
    for model, x in ((net, X3.to("meta")), (net.to("meta"), X3)):
        with pytest.raises(ValueError, match="needs tensors with values"):
            md.audit(model, x)


def test_torchscript_says_what_is_not_seen() -> None:
    found = md.audit(torch.jit.script(nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.2))), X3)
    (drop,) = found.drops
    assert (drop.kind, drop.p, drop.unit) == ("unknown", None, "values")
    assert abs(drop.rate - 0.2) < 0.02
    assert found.unseen == ("what calls in TorchScript: its layers, its lines and its rates p",)
    assert not found.findings + found.notes


@pytest.mark.parametrize("shape", [(), (1,)])
def test_small_inputs(shape: tuple[int, ...]) -> None:
    found = md.audit(nn.Sequential(nn.Dropout(0.2)), torch.zeros(shape, requires_grad=True))
    assert [drop.shape for drop in found.drops] == [shape]


def test_a_compact_view_is_audited_as_its_model() -> None:
    net = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.2))
    assert [d.name for d in md.audit(md.compact(net), X3).drops] == ["1"]
    compiled: Any = torch.compile(net)
    assert [d.name for d in md.audit(compiled, X3).drops] == ["1"]


def test_a_model_that_cannot_repeat_a_step_is_not_timed() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.state = nn.Linear(8, 8), torch.zeros(8)

        def forward(self, x: Tensor) -> Tensor:
            self.state = nn.functional.dropout(self.linear(x + self.state), 0.2, self.training)
            return self.state.exp()

    found = md.audit(Net(), X3)
    assert [(drop.p, drop.share) for drop in found.drops] == [(0.2, None)]
    assert found.step_seconds is None
    assert "the time of a training step, where the model raises RuntimeError" in found.unseen[0]
    assert "     ?  tests/torch/audit/test_state.py:" in str(found)
