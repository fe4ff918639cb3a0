"""Models of the transformers package are captured as they are: keywords, decorators, dataclasses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    ConvNextConfig,
    ConvNextModel,
    ResNetConfig,
    ResNetModel,
    SegformerConfig,
    SegformerModel,
    ViTConfig,
    ViTModel,
)

from mapdrop.torch import compact
from mapdrop.torch.compact.schedule import Schedule
from tests.torch.compact.agreement import ALWAYS, pixels

pytestmark = pytest.mark.compiler


def vit() -> nn.Module:
    sizes: Any = {"hidden_size": 32, "intermediate_size": 64, "image_size": 32, "patch_size": 8}
    return ViTModel(ViTConfig(num_hidden_layers=2, num_attention_heads=2, **sizes))


def convnext() -> nn.Module:
    widths = [8, 16, 24, 32]
    return ConvNextModel(
        ConvNextConfig(hidden_sizes=widths, depths=[1, 1, 2, 1], drop_path_rate=0.3)
    )


def segformer() -> nn.Module:
    widths, ones = [8, 16, 16, 32], [1] * 4
    return SegformerModel(
        SegformerConfig(
            hidden_sizes=widths, depths=ones, num_attention_heads=ones, drop_path_rate=0.3
        )
    )


def resnet() -> nn.Module:
    """Return a ResNet with spatial dropout between the two convolutions of each block."""
    net = ResNetModel(
        ResNetConfig(embedding_size=16, hidden_sizes=[16, 32], depths=[2, 2], layer_type="basic")
    )
    for block in net.modules():
        if type(block).__name__ == "ResNetBasicLayer":
            layer: Any = block.layer
            first, last = layer
            block.layer = nn.Sequential(first, nn.Dropout2d(0.5), last)
    return net


MODELS: dict[str, tuple[Callable[[], nn.Module], int, bool]] = {
    "vit": (vit, 32, False),
    "convnext": (convnext, 32, True),
    "segformer": (segformer, 64, True),
    "resnet": (resnet, 32, True),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_one_graph_with_its_own_results(name: str) -> None:
    make, side, skips = MODELS[name]
    torch.manual_seed(1)
    net: Any = make().double().train()
    fast: Any = compact(net, ALWAYS)
    x, found = pixels(2, 3, side, side), []
    for model in (net, fast):
        model.zero_grad(set_to_none=True)
        torch.manual_seed(2)
        out = model(pixel_values=x, output_hidden_states=True)
        state = torch.get_rng_state()
        loss = out.last_hidden_state.sin().sum() + sum(h.sum() for h in out.hidden_states)
        loss.backward()
        gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        found.append((type(out), list(out.keys()), out.to_tuple(), gradients, state))
    (want_type, want_keys, *want), (have_type, have_keys, *have) = found
    assert (have_type, have_keys) == (want_type, want_keys)
    torch.testing.assert_close(have, want, rtol=1e-9, atol=1e-9)
    (made,) = fast._mapdrop_engine.last
    assert isinstance(made, Schedule), made
    assert made.skips == skips
