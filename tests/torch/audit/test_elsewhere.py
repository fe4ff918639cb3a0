"""Where compact would skip more: the note, and what the model does if it is followed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import monai.networks.blocks
import monai.networks.nets
import pytest
import torch
from torch import Tensor, nn

import mapdrop.torch as md
from mapdrop.torch.audit import Audit
from tests.torch.audit.models import DropPath
from tests.torch.compact.agreement import ALWAYS

pytestmark = pytest.mark.compiler
MONAI: Any = monai  # Whose parts have no types.
WIDTH = 16
X = torch.zeros(4, 3, 16, 16)


@pytest.fixture(autouse=True)
def _everything_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    # The machine's own constants would decide anew each time.
    schedule = import_module("mapdrop.torch.compact.schedule")
    monkeypatch.setattr(schedule, "calibrate", lambda: ALWAYS)


def conv(inputs: int = WIDTH) -> nn.Conv2d:
    return nn.Conv2d(inputs, WIDTH, 3, padding=1)


class Pooled(nn.Module):
    """Drops maps behind pooling, or two convolutions before it."""

    def __init__(self, early: bool) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3 = conv(3), conv(), conv()
        self.relu1, self.relu2, self.relu3 = nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU()
        self.norm, self.head = nn.GroupNorm(4, WIDTH), nn.Linear(WIDTH, 3)
        self.drop, self.early = nn.Dropout2d(0.5), early

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu2(self.conv2(self.relu1(self.conv1(x))))
        x = self.drop(x) if self.early else x
        x = self.relu3(self.norm(self.conv3(x))).mean((2, 3), keepdim=True)
        x = x if self.early else self.drop(x)
        y: Tensor = self.head(x.flatten(1))
        return y


class Block(nn.Module):
    """A residual branch whose samples are dropped before it is computed, or behind it."""

    def __init__(self, late: bool) -> None:
        super().__init__()
        self.norm, self.drop, self.late = nn.LayerNorm(WIDTH), DropPath(0.5), late
        self.fc1, self.act, self.fc2 = nn.Linear(WIDTH, 64), nn.GELU(), nn.Linear(64, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        y = y if self.late else self.drop(y)
        y = self.fc2(self.act(self.fc1(y)))
        y = self.drop(y) if self.late else y
        z: Tensor = x + y
        return z


def notes(found: Audit) -> list[str]:
    assert not found.unseen
    return [str(note) for note in found.notes if note.check == "another place"]


def test_a_drop_behind_pooling_saves_less_than_between_convolutions() -> None:
    found = md.audit(Pooled(early=False), X)
    (better,) = found.better
    pixels, first, next_ = 16 * 16, 3 * WIDTH * 9, WIDTH * WIDTH * 9
    head = WIDTH * 3
    total = (first + 2 * next_) * pixels + head
    assert better.here == pytest.approx(head / 2 / total, abs=1e-12)
    assert better.there == pytest.approx(next_ * pixels / total)
    assert better.names == ("drop",)
    (note,) = notes(found)
    assert "test_elsewhere.py:" in better.where
    assert "compact skips 0% of the step's multiplications with it here, and 46% with it" in note
    assert "behind relu 'relu2' (" in note
    assert "trained in another way" in note
    assert not [finding for finding in found.findings if finding.check == "another place"]


def test_there_it_skips_what_was_promised_and_needs_no_note() -> None:
    (better,) = md.audit(Pooled(early=False), X).better
    found = md.audit(Pooled(early=True), X)
    assert found.compact is not None
    assert found.compact.skipped == better.there
    assert not found.better
    assert not notes(found)


def test_the_drops_of_all_blocks_move_together() -> None:
    def net(late: bool) -> nn.Module:
        blocks = [Block(late) for _ in range(8)]
        return nn.Sequential(nn.Linear(WIDTH, WIDTH), *blocks)

    x = torch.zeros(4, 5, WIDTH)
    (better,) = md.audit(net(late=False), x).better
    assert better.names == tuple(f"{1 + i}.drop" for i in range(8))
    assert better.behind.startswith("linear (")
    assert better.here == 0
    assert better.there == pytest.approx(8 * 64 / (1 + 16 * 4) / 16)
    moved = md.audit(net(late=True), x)
    assert moved.compact is not None
    assert moved.compact.skipped == better.there
    assert not moved.better


def test_monai_s_convolution_has_the_better_place_as_an_option() -> None:
    def net(ordering: str) -> nn.Module:
        block = MONAI.networks.blocks.Convolution
        norm = ("group", {"num_groups": 4})
        first = block(2, 3, WIDTH, adn_ordering=ordering, dropout=0.5, dropout_dim=2, norm=norm)
        pooled = nn.AdaptiveAvgPool2d(1), nn.Flatten()
        return nn.Sequential(first, block(2, WIDTH, WIDTH), *pooled, nn.Linear(WIDTH, 3))

    found = md.audit(net("DNA"), X)
    (better,) = found.better
    assert better.names == ("0.adn.D",)
    assert better.behind == "prelu '0.adn.A'"  # In no line of code but PyTorch's.
    first, second, head = 3 * 9 * WIDTH * 256, WIDTH * 9 * WIDTH * 256, WIDTH * 3
    assert better.here == pytest.approx(first / 2 / (first + second + head))
    assert better.there == pytest.approx(second / 2 / (first + second + head))
    moved = md.audit(net("NAD"), X)
    assert moved.compact is not None
    assert moved.compact.skipped == better.there
    assert not moved.better


def test_monai_s_densenet_drops_where_as_much_is_skipped_as_elsewhere() -> None:
    net = MONAI.networks.nets.DenseNet(
        2, 3, 4, init_features=8, growth_rate=8, block_config=(2, 2), dropout_prob=0.5
    )
    found = md.audit(net, torch.zeros(4, 3, 32, 32))
    assert found.compact is not None
    assert found.compact.skipped > 0.2  # It drops directly behind convolutions.
    assert not found.better
