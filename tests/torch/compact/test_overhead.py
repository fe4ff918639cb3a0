"""Where nothing is skipped, a call costs as little for a large model as for a small one."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from mapdrop.torch import compact
from mapdrop.torch.compact import Costs

NEVER = Costs(margin=1e9)


class Idle(nn.Module):
    """Layers of which one is called."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Conv2d(3, 3, 1), nn.Dropout2d(0.5)) for _ in range(layers)
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers[0](x)
        return y


def calls(model: nn.Module, x: Tensor) -> list[str]:
    """Return the functions that a call enters, but for those of nn.Module."""
    entered: list[str] = []

    def note(frame: FrameType, event: str, arg: Any) -> None:
        if event == "call" and "nn/modules" not in frame.f_code.co_filename:
            path, name = frame.f_code.co_filename, frame.f_code.co_name
            entered.append(f"{Path(path).name}: {name}")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        model(x)
    finally:
        sys.setprofile(before)
    return entered


def test_the_functions_called_do_not_depend_on_the_number_of_modules() -> None:
    found, x = [], torch.ones(2, 3, 4, 4)
    for layers in (2, 200):
        fast = compact(Idle(layers), NEVER)
        for _ in range(2):
            fast(x)
        found.append([name for name in calls(fast, x) if not name.endswith("_rates")])
    assert found[0] == found[1]
    assert len(found[0]) <= 50, found[0]
    assert "engine.py: forward" in found[0]


def test_a_rate_that_changes_is_seen_at_once() -> None:
    net: Any = nn.Sequential(nn.Conv2d(3, 64, 3), nn.Dropout2d(0.0), nn.Conv2d(64, 8, 3))
    fast: Any = compact(net, Costs(margin=0, least=0, call=0, own_call=0, flops=1e6, own=1e9))
    x = torch.ones(2, 3, 8, 8)
    for _ in range(3):
        fast(x)
    assert fast.report().saving == 0
    net[1].p = 0.5
    fast(x)
    assert fast.report().saving > 0


def test_another_change_is_seen_after_some_calls() -> None:
    net = nn.Sequential(nn.Conv2d(3, 64, 3), nn.Identity(), nn.Conv2d(64, 8, 3))
    fast: Any = compact(net, Costs(margin=0, least=0, call=0, own_call=0, flops=1e6, own=1e9))
    x = torch.ones(2, 3, 8, 8)
    fast(x)
    net[1] = nn.Dropout2d(0.5)
    savings = []
    for _ in range(18):
        fast(x)
        savings.append(fast.report().saving)
    assert savings[0] == 0 < savings[-1]
