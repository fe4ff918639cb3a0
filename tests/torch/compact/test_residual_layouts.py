"""Where branches run for the kept samples, arrays keep the layout in memory that a model gives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mapdrop.torch import DropPath, compact
from tests.torch.compact.agreement import ALWAYS
from tests.torch.compact.residual_drops import DROPS
from tests.torch.compact.residual_models import FAMILIES, WIDTH
from tests.torch.compact.residual_work import branches

pytestmark = pytest.mark.training
FORMS = {"channels last": torch.channels_last, "channels first": torch.contiguous_format}


def layouts(net: nn.Module, x: Tensor, seed: int) -> list[tuple[int, ...]]:
    """Return the strides of a result and of the gradient of x."""
    torch.manual_seed(seed)
    x = x.detach().requires_grad_()
    y = net(x)
    (gradient,) = torch.autograd.grad(y, x, torch.randn_like(y))
    return [y.stride(), gradient.stride()]


class Last(nn.Module):
    """A block whose branch ends channels last, and which adds its input to that, or that to it."""

    def __init__(self, leads: bool) -> None:
        super().__init__()
        self.conv, self.linear = nn.Conv2d(WIDTH, WIDTH, 3, padding=1), nn.Linear(WIDTH, WIDTH)
        self.drop, self.leads = DropPath(0.5), leads

    def forward(self, x: Tensor) -> Tensor:
        y = self.drop(self.linear(self.conv(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2))
        return y + x if self.leads else x + y  # type: ignore[no-any-return]


@pytest.mark.parametrize("leads", [True, False])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_sum_has_the_layout_of_its_first_operand(leads: bool, form: torch.memory_format) -> None:
    net = nn.Sequential(Last(leads), Last(leads))
    fast = compact(net, ALWAYS)
    x = torch.randn(6, WIDTH, 5, 5).contiguous(memory_format=form)
    for seed in range(4):
        found, want = layouts(fast, x, seed), layouts(net, x, seed)
        assert found[0] == want[0]
    assert all(line.operations for line in branches(fast))


@pytest.mark.parametrize("axis", [0, 1])
def test_an_expanded_input(axis: int) -> None:
    """Learned queries are one array for all samples."""
    net = FAMILIES["vit"].make(DROPS["timm"]).float().blocks
    fast = compact(nn.Sequential(*net), ALWAYS)
    shape = [6, 5, WIDTH]
    x = torch.randn([1 if a == axis else n for a, n in enumerate(shape)]).expand(shape)
    for seed in range(4):
        assert layouts(fast, x, seed)[0] == layouts(nn.Sequential(*net), x, seed)[0]
    assert all(line.operations for line in branches(fast))


@pytest.mark.parametrize("family", ["convnext", "resnet-preactivation"])
@pytest.mark.parametrize("drop", ["timm", "drop-path", "batch"])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_blocks_keep_the_layout(family: str, drop: str, form: torch.memory_format) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(*FAMILIES[family].make(DROPS[drop]).float().blocks)
    fast = compact(net, ALWAYS)
    x = torch.randn(6, WIDTH, 5, 5).contiguous(memory_format=form)
    for seed in range(4):
        assert layouts(fast, x, seed) == layouts(net, x, seed) == [x.stride()] * 2
    lines = branches(fast)
    assert lines
    assert all(line.operations for line in lines)
