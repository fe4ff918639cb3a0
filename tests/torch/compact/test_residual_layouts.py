"""Where branches run for the kept samples, arrays keep the layout in memory that a model gives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mapdrop.torch import compact
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
