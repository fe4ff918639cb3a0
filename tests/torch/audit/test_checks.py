"""Each fault is found where it is, and not where it is not."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import mapdrop.torch as md
from tests.torch.audit.models import (
    WIDTH,
    X3,
    X4,
    Applied,
    Functional,
    Stubborn,
    Unused,
    right_cnn,
    right_transformer,
)


def linear(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(WIDTH, WIDTH), *layers, nn.Linear(WIDTH, WIDTH))


def conv(*layers: nn.Module) -> nn.Module:
    last = nn.Conv2d(WIDTH, WIDTH, 3)
    return nn.Sequential(nn.Conv2d(WIDTH, WIDTH, 3), *layers, last)


def one_map(layer: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(WIDTH, 1, 3), layer, nn.Conv2d(1, WIDTH, 3))


def thinned(x: Tensor) -> Tensor:
    return torch.where(torch.rand_like(x) > 0.2, x, 0.0)


LAST: dict[str, Any] = {"data_format": "channels_last"}
# The model, its input, and its findings with the layer or function that each is about.
WRONG: dict[str, tuple[Callable[[], nn.Module], Tensor, list[tuple[str, str]]]] = {
    "never called": (Unused, X3, [("never called", "never")]),
    "p = 1": (lambda: linear(nn.Dropout(1.0)), X3, [("p = 1", "1")]),
    "always on": (lambda: Functional(False), X3, [("active in eval mode", "")]),
    "always on, inline": (lambda: Applied(thinned), X3, [("active in eval mode", "")]),
    "a layer in eval": (lambda: linear(Stubborn(0.2)), X3, [("active in eval mode", "1")]),
    "Dropout2d of sequences": (lambda: linear(nn.Dropout2d(0.2)), X3, [("rank", "1")]),
    "Dropout3d of images": (lambda: conv(nn.Dropout3d(0.2)), X4, [("rank", "1")]),
    "Dropout1d of features": (lambda: linear(nn.Dropout1d(0.2)), X3[0], [("rank", "1")]),
    "time steps": (lambda: linear(nn.Dropout1d(0.2)), X3, [("axis", "1")]),
    "time steps behind": (
        lambda: nn.Sequential(nn.LayerNorm(WIDTH), nn.Dropout1d(0.2)), X3, [("axis", "1")],
    ),
    "time steps before": (
        lambda: nn.Sequential(nn.Dropout1d(0.2), nn.ReLU(), nn.LayerNorm(WIDTH)), X3,
        [("axis", "0")],
    ),
    "time steps behind an activation": (
        lambda: nn.Sequential(nn.LayerNorm(WIDTH), nn.GELU(), nn.Dropout1d(0.2)), X3,
        [("axis", "2")],
    ),
    "time steps behind another drop": (
        lambda: nn.Sequential(nn.LayerNorm(WIDTH), nn.Dropout(0.1), nn.Dropout1d(0.2)), X3,
        [("axis", "2")],
    ),
    "rows of pixels": (
        lambda: linear(md.SpatialDropout2d(0.2)), torch.zeros(4, 6, 6, WIDTH), [("axis", "1")],
    ),
    "whole samples": (lambda: one_map(nn.Dropout2d(0.2)), X4, [("whole samples", "1")]),
    "whole samples of ours": (
        lambda: one_map(md.SpatialDropout2d(0.2)), X4, [("whole samples", "1")],
    ),
    "before BatchNorm": (
        lambda: conv(nn.Dropout(0.2), nn.BatchNorm2d(WIDTH)), X4, [("before BatchNorm", "1")],
    ),
    "before BatchNorm, with ReLU": (
        lambda: conv(nn.Dropout2d(0.2), nn.ReLU(), nn.MaxPool2d(2), nn.BatchNorm2d(WIDTH)),
        torch.zeros(4, WIDTH, 12, 12), [("before BatchNorm", "1")],
    ),
}  # fmt: skip
RIGHT: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "a CNN": (right_cnn, X4),
    "a transformer": (right_transformer, X3),
    "heeds its mode": (lambda: Functional(True), X3),
    "Dropout2d of images": (lambda: conv(nn.Dropout2d(0.2)), X4),
    "Dropout1d of sequences": (
        lambda: nn.Sequential(nn.Conv1d(10, 10, 1), nn.Dropout1d(0.2), nn.Conv1d(10, 3, 1)), X3,
    ),
    "channels that are moved": (
        lambda: nn.Sequential(
            nn.Conv1d(10, WIDTH, 1), nn.Dropout1d(0.2), Transposed(), nn.LayerNorm(WIDTH)
        ), X3,
    ),
    "channels last": (lambda: linear(md.SpatialDropout1d(0.2, **LAST)), X3),
    "drop path": (lambda: linear(md.DropPath(0.2)), X3),
    "GroupNorm": (lambda: conv(nn.Dropout2d(0.2), nn.GroupNorm(2, WIDTH)), X4),
    "InstanceNorm": (lambda: conv(nn.Dropout(0.2), nn.InstanceNorm2d(WIDTH)), X4),
    "BatchNorm behind a convolution": (
        lambda: conv(nn.Dropout2d(0.2), nn.Conv2d(WIDTH, WIDTH, 1), nn.BatchNorm2d(WIDTH)), X4,
    ),
    "BatchNorm behind an addition": (lambda: conv(Residual(), nn.BatchNorm2d(WIDTH)), X4),
    "frozen BatchNorm": (lambda: conv(nn.Dropout(0.2), _Frozen(WIDTH)).train(), X4),
    "noise": (lambda: Applied(lambda x: x * (1 + 0.1 * torch.randn_like(x))), X3),
    "one gain": (lambda: Applied(lambda x: x * torch.rand(())), X3),
    "random signs": (lambda: Applied(lambda x: x * (torch.rand_like(x) - 0.5).sign()), X3),
    "no dropout": (lambda: conv(nn.ReLU()), X4),
}  # fmt: skip


class Transposed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2)


class Residual(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + functional.dropout(x, 0.2, self.training)


class _Frozen(nn.BatchNorm2d):
    def train(self, mode: bool = True) -> _Frozen:
        super().train(False)
        return self


@pytest.mark.parametrize(("make", "x", "wanted"), WRONG.values(), ids=WRONG)
def test_a_fault_is_found(
    make: Callable[[], nn.Module], x: Tensor, wanted: list[tuple[str, str]]
) -> None:
    found = md.audit(make(), x)
    assert [(finding.check, finding.name) for finding in found.findings] == wanted
    assert all(f.problem.endswith(".") and f.remedy.endswith(".") for f in found.findings)


@pytest.mark.parametrize(("make", "x"), RIGHT.values(), ids=RIGHT)
def test_what_is_right_has_no_findings(make: Callable[[], nn.Module], x: Tensor) -> None:
    assert not md.audit(make(), x).findings


def test_a_layer_that_is_called_twice_is_a_note() -> None:
    (note,) = md.audit(Unused(), X3).notes
    assert (note.check, note.name) == ("called again", "twice")
    assert "called 2 times" in note.problem


def test_p_0_is_a_note_whether_it_is_called_or_not() -> None:
    found = md.audit(linear(nn.Dropout(0.0), md.DropPath(0.0)), X3)
    assert [(note.check, note.name) for note in found.notes] == [("p = 0", "1"), ("p = 0", "2")]
    assert not found.findings
    assert not found.drops


def test_a_function_is_a_note_with_the_line_of_the_model() -> None:
    (note,) = md.audit(Functional(True), X3).notes
    lines, first = inspect.getsourcelines(Functional)
    (at,) = [n for n, line in enumerate(lines, first) if "# Here." in line]
    assert note.check == "functional"
    assert note.where == f"tests/torch/audit/models.py:{at}"


def test_functions_of_pytorch_that_drop_inside_are_seen() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(WIDTH, WIDTH, 2, dropout=0.3)

        def forward(self, x: Tensor) -> Any:
            x = functional.scaled_dot_product_attention(x, x, x, dropout_p=0.25)
            return self.lstm(x)

    found = md.audit(Net(), X3)
    told = [(drop.kind, drop.p, drop.functional) for drop in found.drops]
    assert told == [("scaled_dot_product_attention", 0.25, True), ("lstm", 0.3, True)]
    assert [abs(drop.rate - drop.p) < 0.03 for drop in found.drops if drop.p] == [True, True]


def test_attention_that_reads_the_rate_of_a_layer_calls_it() -> None:
    class Attention(nn.Module):
        def __init__(self, own: float) -> None:
            super().__init__()
            self.dropout, self.own = nn.Dropout(0.2), own

        def forward(self, x: Tensor) -> Tensor:
            return functional.dropout(x, self.own, self.training)

    x = X3.clone().requires_grad_()
    assert not md.audit(Attention(0.2), x).findings
    (finding,) = md.audit(Attention(0.3), x).findings
    assert finding.check == "never called"


class Sequences(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.drop = nn.Embedding(10, 16), nn.Dropout1d(0.2)
        self.conv = nn.Conv1d(16, 16, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(self.drop(self.table(x).transpose(1, 2)))
        return y


def pooled() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.ReLU(),
        nn.Dropout2d(0.2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 10),
    )


@pytest.mark.parametrize(
    ("net", "x"),
    [
        (pooled, torch.randn(4, 3, 16, 16)),
        (Sequences, torch.arange(64).reshape(4, 16) % 10),
        (lambda: conv(nn.Dropout2d(0.2), nn.BatchNorm2d(WIDTH, track_running_stats=False)), X4),
    ],
    ids=["pooled", "sequences", "statistics of each batch"],
)
def test_axes_of_one_length_are_no_fault(net: Callable[[], nn.Module], x: Tensor) -> None:
    assert not md.audit(net(), x).findings


def test_an_argument_that_is_no_rate_is_none() -> None:
    def kept(x: Tensor, p: float) -> Tensor:
        return x * (torch.rand_like(x) < p) / p

    found = md.audit(Applied(lambda x: kept(x, 0.9)), X3)
    assert all(finding.check != "rate" for finding in found.findings)


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="not empty ones"):
        md.audit(linear(nn.Dropout(0.2)), X3[:0])
