"""Models that nobody here wrote, converted: the same in eval, the right law in training."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from monai.networks.nets.segresnet import SegResNet
from monai.networks.nets.unet import UNet
from torch import Tensor, nn

from mapdrop.torch import (
    Drop,
    Dropout,
    DropPath,
    SpatialDropout2d,
    compact,
    compact_report,
    convert,
    seeded,
)
from tests.integration.test_statistics import accept
from tests.torch.compact.agreement import ALWAYS
from tests.torch.compact.test_residual_transformers import CONVNEXT, SWIN, VIT, model

RATE = 0.3
VISION: dict[str, Any] = {"drop_path_rate": RATE, "hidden_dropout_prob": 0.2}
TEXT: dict[str, Any] = {
    "vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 32,
}  # fmt: skip


def pixels(side: int) -> Tensor:
    return torch.randn(6, 3, side, side, dtype=torch.float64)


# The model, its input, and how many drop layers it has.
MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor], int]] = {
    "dinov2": (model("Dinov2", **VIT, **VISION, mlp_ratio=2), lambda: pixels(16), 3),
    "beit": (model("Beit", **VIT, **VISION), lambda: pixels(16), 4),
    "convnext": (model("ConvNext", **CONVNEXT, drop_path_rate=RATE), lambda: pixels(32), 2),
    "swin": (model("Swin", **SWIN, **VISION), lambda: pixels(32), 8),
    "bert": (model("Bert", **TEXT), lambda: torch.arange(48).reshape(4, 12), 7),
    "monai unet": (
        lambda: UNet(2, 3, 2, (4, 8), (2,), dropout=RATE).double(), lambda: pixels(32), 2,
    ),
    "monai segresnet": (
        lambda: SegResNet(2, 8, 3, 2, dropout_prob=RATE).double(), lambda: pixels(16), 1,
    ),
    "torch": (
        lambda: nn.TransformerEncoderLayer(8, 2, 16, RATE, batch_first=True).double(),
        lambda: torch.randn(4, 5, 8).double(), 3,
    ),
}  # fmt: skip
# Of the layers that they have, the values that have coins of their own.
COINS: dict[type[Drop], Callable[[Tensor], Tensor]] = {
    Dropout: lambda kept: kept,
    DropPath: lambda kept: kept[:, :1, :1, :1],
    SpatialDropout2d: lambda kept: kept[:, :, :1, :1],
}
every = pytest.mark.parametrize(("make", "inputs", "count"), MODELS.values(), ids=MODELS)


def output(net: nn.Module, x: Tensor) -> Tensor:
    made = net(x)
    made = made[0] if isinstance(made, (tuple, dict)) or hasattr(made, "keys") else made
    assert isinstance(made, Tensor)
    return made


def rates(net: nn.Module) -> dict[str, float]:
    """The rate of each drop layer, ours or another's, by name."""
    found = {
        name: getattr(m, "drop_prob", getattr(m, "p", None)) for name, m in net.named_modules()
    }
    return {name: p for name, p in found.items() if p is not None}


@every
def test_a_model_is_itself_in_eval(
    make: Callable[[], nn.Module], inputs: Callable[[], Tensor], count: int
) -> None:
    net, x = make(), inputs()
    wanted, keys, before = output(net.eval(), x), list(net.state_dict()), rates(net)
    assert convert(net) is net
    assert torch.equal(output(net, x), wanted)
    assert list(net.state_dict()) == keys
    assert rates(net) == before
    assert sum(isinstance(m, Drop) for m in net.modules()) == count


@every
def test_a_converted_model_drops_and_learns(
    make: Callable[[], nn.Module], inputs: Callable[[], Tensor], count: int
) -> None:
    torch.manual_seed(5)
    net, x = seeded(convert(make()), 7).train(), inputs()
    layers = [m for m in net.modules() if isinstance(m, Drop) and m.p > 0]
    made = [output(net, x) for _ in range(4)]
    assert not all(torch.equal(one, made[0]) for one in made)
    # DINOv2 calls one layer for two branches; BERT never calls one, but reads its rate.
    assert {layer.mapdrop_step for layer in layers} - {0, 8} == {4}
    made[0].square().sum().backward()
    grads = [p.grad for p in net.parameters() if p.grad is not None]
    assert all(g.isfinite().all() for g in grads)
    assert sum(int(g.count_nonzero()) for g in grads) > 0


@every
def test_each_layer_of_a_converted_model_has_the_law_of_the_old_one(
    make: Callable[[], nn.Module], inputs: Callable[[], Tensor], count: int
) -> None:
    torch.manual_seed(6)
    wanted = rates(make())
    for name, layer in convert(make()).train().named_modules():
        if isinstance(layer, Drop):
            x = 1 + torch.rand(2000, 3, 2, 2, dtype=torch.float64)
            made = layer(x)
            kept = made != 0
            assert torch.equal(made[kept], (x * (1 / (1 - layer.p)))[kept])
            coins = COINS[type(layer)](kept)
            assert torch.equal(kept, coins.expand_as(kept))
            accept(int((~coins).sum()), coins.numel(), wanted[name])


@pytest.mark.compiler
def test_compact_skips_in_a_converted_model() -> None:
    net, x = seeded(convert(MODELS["dinov2"][0]()), 7).train(), pixels(16)
    fast = compact(copy.deepcopy(net), ALWAYS)
    made = output(fast, x)
    assert torch.allclose(made, output(net, x))
    branches = compact_report(fast).branches
    assert [branch.rate for branch in branches] == pytest.approx([RATE] * 4)
    assert all(branch.operations > 0 for branch in branches)


def test_a_kind_for_maps_drops_whole_maps_of_a_network() -> None:
    torch.manual_seed(8)
    kinds = {nn.Dropout: SpatialDropout2d}
    net = convert(UNet(2, 3, 2, (4, 8), (2,), dropout=0.5), kinds).train()
    seen: list[Tensor] = []
    for layer in net.modules():
        if isinstance(layer, Drop):
            layer.register_forward_hook(lambda _, args, made: seen.append(made))
    net(torch.randn(64, 3, 16, 16))
    assert len(seen) == 2
    for made in seen:
        maps = (made == 0).all(dim=(2, 3))
        assert torch.equal((made == 0), maps[:, :, None, None].expand_as(made))
        accept(int(maps.sum()), maps.numel(), 0.5)
