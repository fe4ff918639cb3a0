"""The report says what is skipped, and if nothing is, what would have to change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mapdrop.torch.compact import Costs, compact
from tests.torch.compact.agreement import ALWAYS, forced, line, pixels, report

C = 32
IMAGE = pixels(2, C, 6, 6)


def called(*layers: nn.Module) -> nn.Module:
    fast = forced(nn.Sequential(*layers))
    fast(IMAGE)
    return fast


def conv() -> nn.Module:
    return nn.Conv2d(C, C, 3, padding=1)


def conv8() -> nn.Module:
    return nn.Conv2d(8, C, 3, padding=1)


REASONS = {
    "GroupNorm after the drop": (
        [conv(), nn.Dropout2d(0.5), nn.GroupNorm(4, C), conv()],
        "3",
        "GroupNorm '2' reads every map: put the dropout after it.",
    ),
    "GroupNorm before the drop": (
        [conv(), nn.GroupNorm(4, C), nn.Dropout2d(0.5), conv()],
        "0",
        "GroupNorm '1' reads every map: put the dropout before it.",
    ),
    "BatchNorm in training after the drop": (
        [conv(), nn.Dropout2d(0.5), nn.BatchNorm2d(C), conv()],
        "3",
        "BatchNorm in training reads every sample of a map: share one mask in the batch.",
    ),
    "BatchNorm in training before the drop": (
        [conv(), nn.BatchNorm2d(C), nn.Dropout2d(0.01), conv()],
        "0",
        "BatchNorm in training reads every sample of a map: share one mask in the batch.",
    ),
    "no drop": ([conv(), nn.ReLU(), conv()], "0", "no drop of whole maps next to it"),
    "a drop of values": (
        [conv(), nn.Dropout(0.5), conv()],
        "2",
        "no drop of whole maps next to it",
    ),
}


@pytest.mark.parametrize(("layers", "name", "reason"), REASONS.values(), ids=REASONS)
def test_the_reason_for_a_dense_operation(layers: list[nn.Module], name: str, reason: str) -> None:
    assert line(called(*layers), name).reason == reason


def test_an_operation_that_skips_has_no_reason() -> None:
    fast = called(conv(), nn.Dropout2d(0.5), conv())
    assert [(x.reads, x.makes, x.reason) for x in report(fast).lines] == [
        (1, 0.5, ""),
        (0.5, 1, ""),
    ]


def test_the_reason_if_skipping_does_not_pay() -> None:
    fast = compact(nn.Sequential(conv(), nn.Dropout2d(0.5), conv()).double(), Costs(own_call=1.0))
    fast(IMAGE)
    assert report(fast).saving == 0
    assert "skipping would save less than it costs" in line(fast, "0").reason


@pytest.mark.parametrize("least", [0.6, 0.7])
def test_the_reason_if_it_saves_too_little_of_the_step(least: float) -> None:
    """Two of three equal convolutions skip, and cost nothing by these constants."""
    net = nn.Sequential(conv(), nn.Dropout2d(0.5), conv(), nn.GroupNorm(4, C), conv())
    fast = compact(net.double(), replace(ALWAYS, margin=0, least=least))
    fast(IMAGE)
    if least < 2 / 3:
        assert report(fast).saving == pytest.approx(2 / 3)
    else:
        assert report(fast).saving == 0
        assert "would save less than 70% of the model's step" in line(fast, "0").reason
        assert line(fast, "4").reason == "GroupNorm '3' reads every map: put the dropout after it."


def test_a_mask_for_the_batch_goes_through_batch_norm() -> None:
    alone = forced(nn.Sequential(conv(), nn.BatchNorm2d(C), nn.Dropout2d(0.5), conv()))
    alone(IMAGE[:1])  # A batch of one has one mask.
    assert line(alone, "0").makes == 0.5


def test_the_text_has_a_line_for_each_operation() -> None:
    fast = called(conv(), nn.ReLU(), nn.Dropout2d(0.5), conv(), nn.Flatten(), nn.Linear(C * 36, 3))
    text = str(report(fast)).splitlines()
    assert [row.split()[0] for row in text] == ["operation", "0", "3", "5", "predicted"]
    assert text[1].split()[1:3] == ["100%", "50%"]


def test_savings_are_measured_on_request() -> None:
    layers = conv(), nn.ReLU(), nn.Dropout2d(0.9), conv(), nn.GroupNorm(4, C), conv()
    view: Any = called(*layers)
    assert [x.measured for x in view.report().lines] == [None] * 3
    assert view.report().measured_saving is None
    found = view.report(measured=True)
    assert [x.measured is not None for x in found.lines] == [True, True, False]
    whole, planned = zip(*(x.measured for x in found.lines if x.measured), strict=True)
    assert min(whole + planned) > 0
    assert found.measured_saving == 1 - sum(planned) / sum(whole)
    text = str(found).splitlines()
    assert "measured ms" in text[0]
    assert text[-1] == f"measured saving in those that skip: {found.measured_saving:.0%}"


def test_measuring_changes_nothing_in_the_model() -> None:
    fast: Any = called(conv(), nn.Dropout2d(0.5), conv())
    torch.manual_seed(3)
    expected = fast(IMAGE)
    torch.manual_seed(3)
    with torch.no_grad():
        fast.report(measured=True)
    assert torch.equal(fast(IMAGE), expected)
    assert all(p.grad is None for p in fast.parameters())


@pytest.mark.parametrize(
    "layers",
    [
        [nn.Conv2d(C, C, 3, 2), nn.Dropout2d(0.5), nn.ConvTranspose2d(C, C, 2, 2)],
        [conv(), nn.Dropout2d(0.5), nn.Flatten(), nn.Linear(C * 36, 5)],
        [nn.Conv2d(C, 8, 2, padding="same"), nn.Dropout2d(0.5), conv8()],
    ],
    ids=["strides", "linear", "uneven padding"],
)
def test_every_kind_of_operation_can_be_measured(layers: list[nn.Module]) -> None:
    view: Any = called(*layers)
    assert all(x.measured is not None for x in view.report(measured=True).lines)


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_the_saving_is_a_share(p: float) -> None:
    fast = called(conv(), nn.Dropout2d(p), conv())
    assert 0 <= report(fast).saving < 1


def test_a_higher_rate_saves_more() -> None:
    few, many = (report(called(conv(), nn.Dropout2d(p), conv())).saving for p in (0.5, 0.9))
    assert 0 < few < many


def test_before_the_first_call_there_are_no_lines() -> None:
    fast = forced(nn.Sequential(conv()))
    assert str(report(fast)) == "nothing is skipped: it was not called in training mode yet"


def test_the_reason_if_a_model_cannot_be_captured() -> None:
    class Turning(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    fast = forced(Turning())
    fast(IMAGE)
    assert str(report(fast)).startswith("nothing is skipped: no convolution or Linear is called")
