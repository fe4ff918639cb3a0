"""Models of the transformers package skip the samples that their own drop paths drop."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

from mapdrop.torch import DropPath, compact
from tests.torch.compact.agreement import ALWAYS, pixels
from tests.torch.compact.residual_work import branches, flops
from tests.torch.compact.training_step import check_close

pytestmark = pytest.mark.compiler

SAMPLES, RATE = 5, 0.5
VIT: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 16,
    "patch_size": 8,
}
SWIN: dict[str, Any] = {
    "image_size": 32,
    "patch_size": 4,
    "embed_dim": 16,
    "depths": [2, 2],
    "num_heads": [2, 2],
    "window_size": 4,
}
CONVNEXT: dict[str, Any] = {"hidden_sizes": [8, 16], "depths": [1, 2], "num_stages": 2}
AUDIO: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": [8, 8],
    "conv_stride": [5, 4],
    "conv_kernel": [10, 4],
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
    "hidden_dropout": 0.0,
    "activation_dropout": 0.0,
    "attention_dropout": 0.0,
    "feat_proj_dropout": 0.0,
    "mask_time_prob": 0.0,
    "layerdrop": 0.5,
}


def model(name: str, **options: Any) -> Callable[[], nn.Module]:
    """Return what makes a model, the same each time, in which no parameter is 0 or 1."""

    def make() -> nn.Module:
        torch.manual_seed(3)
        config = getattr(transformers, f"{name}Config")(**options)
        net: nn.Module = getattr(transformers, f"{name}Model")(config).double().train()
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
        return net

    return make


def vision(name: str, **options: Any) -> Callable[[], nn.Module]:
    return model(name, drop_path_rate=RATE, **options)


# Each with the side of its images and the number of its drops; a ramp's first rate is 0.
MODELS: dict[str, tuple[Callable[[], nn.Module], int, int]] = {
    "dinov2": (vision("Dinov2", **VIT, mlp_ratio=2), 16, 4),
    "beit": (vision("Beit", **VIT, use_relative_position_bias=True), 16, 2),
    "swin": (vision("Swin", **SWIN), 32, 3),
    "swinv2": (vision("Swinv2", **SWIN), 32, 6),
    "convnext": (vision("ConvNext", **CONVNEXT, layer_scale_init_value=0.5), 32, 2),
    "convnextv2": (vision("ConvNextV2", **CONVNEXT), 32, 2),
    "segformer": (
        vision(
            "Segformer",
            num_encoder_blocks=2,
            depths=[1, 2],
            sr_ratios=[2, 1],
            hidden_sizes=[8, 16],
            patch_sizes=[7, 3],
            strides=[4, 2],
            num_attention_heads=[1, 2],
            mlp_ratios=[2, 2],
        ),
        32,
        4,
    ),
    "pvt": (
        vision(
            "Pvt",
            image_size=32,
            num_encoder_blocks=2,
            depths=[1, 2],
            sequence_reduction_ratios=[2, 1],
            hidden_sizes=[8, 16],
            patch_sizes=[4, 2],
            strides=[4, 2],
            num_attention_heads=[1, 2],
            mlp_ratios=[2, 2],
        ),
        32,
        4,
    ),
    "hiera": (
        vision(
            "Hiera",
            embed_dim=8,
            image_size=[32, 32],
            patch_size=[4, 4],
            patch_stride=[4, 4],
            patch_padding=[0, 0],
            depths=[1, 2],
            num_heads=[1, 2],
            num_query_pool=1,
            query_stride=[2, 2],
            masked_unit_size=[4, 4],
            masked_unit_attention=[True, False],
            mlp_ratio=2.0,
        ),
        32,
        4,
    ),
}
AUDIO_MODELS = {
    "wav2vec2": model("Wav2Vec2", **AUDIO),
    "hubert": model("Hubert", **AUDIO),
    "wav2vec2-stable": model(
        "Wav2Vec2", **AUDIO, do_stable_layer_norm=True, feat_extract_norm="layer"
    ),
}


def outcome(net: Any, name: str, x: Tensor, seed: int) -> tuple[Any, dict[str, Tensor | None]]:
    """Run a step; return the class and the names of its output, and all tensors by name."""
    given = x.clone().requires_grad_(name == "pixel_values")  # Of sounds the models refuse it.
    net.zero_grad(set_to_none=True)
    torch.manual_seed(seed)
    out = net(**{name: given}, output_hidden_states=True)
    found: dict[str, Tensor | None] = {"generator": torch.get_rng_state()}
    weights = torch.Generator().manual_seed(seed)
    loss = torch.zeros((), dtype=torch.float64)
    for i, y in enumerate((out.last_hidden_state, *out.hidden_states)):
        loss = loss + (y * torch.randn(y.shape, generator=weights, dtype=y.dtype)).sum()
        found[f"output {i}"] = y.detach()
    loss.backward()
    found["input"] = given.grad
    found |= {key: p.grad for key, p in net.named_parameters()}
    return (type(out), list(out.keys())), found


def check(net: Any, fast: Any, name: str, x: Tensor, seed: int) -> None:
    """Raise AssertionError if a step of the compact model differs from the model's own."""
    (kind, want), (same_kind, have) = outcome(net, name, x, seed), outcome(fast, name, x, seed)
    assert same_kind == kind
    assert have.keys() == want.keys()
    for key, value in want.items():
        other = have[key]
        assert (value is None) == (other is None), key
        if value is not None and other is not None:
            check_close(key, value, other)


@pytest.mark.parametrize("name", MODELS)
def test_a_vision_model_trains_the_same(name: str) -> None:
    make, side, _ = MODELS[name]
    net, x = make(), pixels(SAMPLES, 3, side, side)
    fast: Any = compact(make(), ALWAYS)
    for seed in range(3):
        check(net, fast, "pixel_values", x, seed)


@pytest.mark.parametrize("name", ["dinov2", "beit", "segformer"])
def test_a_vision_model_skips_under_its_own_checkpointing(name: str) -> None:
    make, side, drops = MODELS[name]
    net, x = make(), pixels(SAMPLES, 3, side, side)
    net.activation_checkpointing_enable()  # type: ignore[operator]
    fast: Any = compact(copy.deepcopy(net), ALWAYS)
    for seed in range(2):
        check(net, fast, "pixel_values", x, seed)
    lines = [line for line in branches(fast) if line.rate > 0]
    assert [line.reason for line in lines] == [""] * drops


@pytest.mark.parametrize("name", ["dinov2", "beit", "convnext", "segformer", "pvt"])
def test_a_vision_model_with_balanced_drop_path_is_one_graph(name: str) -> None:
    torch._dynamo.reset()
    make, side, drops = MODELS[name]
    net, x = balanced(make()), pixels(SAMPLES, 3, side, side)
    fast = compact(copy.deepcopy(net), ALWAYS)
    compiled = torch.compile(fast, backend="aot_eager", fullgraph=True)
    for seed in range(2):
        found = []
        for one in (net, compiled):
            given = x.clone().requires_grad_()
            torch.manual_seed(seed)
            y = one(pixel_values=given).last_hidden_state
            (gradient,) = torch.autograd.grad(y.sin().sum(), given)
            found.append((y.detach(), gradient))
        for want, have in zip(*found, strict=True):
            check_close("result", want, have)
    lines = [line for line in branches(fast) if line.rate > 0]
    assert [line.reason for line in lines] == [""] * drops


def balanced(net: nn.Module) -> nn.Module:
    """Return a model with mapdrop's layer in the place of each drop path."""
    for name, layer in list(net.named_modules()):
        if type(layer).__name__.endswith("DropPath"):
            above, _, own = name.rpartition(".")
            setattr(net.get_submodule(above), own, DropPath(layer.drop_prob or 0.0, balance=True))
    return net


@pytest.mark.parametrize("name", MODELS)
def test_a_vision_model_skips(name: str) -> None:
    make, side, drops = MODELS[name]
    net, x = make(), pixels(SAMPLES, 3, side, side)
    fast: Any = compact(make(), ALWAYS)

    def forward(one: Any) -> Callable[[Tensor], Tensor]:
        return lambda y: one(pixel_values=y).last_hidden_state

    forward(fast)(x.clone().requires_grad_())  # To capture it.
    assert flops(forward(fast), [x], 1) < flops(forward(net), [x], 1)
    lines = [line for line in branches(fast) if line.rate > 0]
    assert len(lines) == drops
    assert [line.reason for line in lines] == [""] * drops
    assert all(line.operations > 0 for line in lines)


@pytest.mark.parametrize("name", AUDIO_MODELS)
def test_an_audio_model_with_layer_drop_stays_right(name: str) -> None:
    make = AUDIO_MODELS[name]
    net, x = make(), pixels(3, 400)
    fast: Any = compact(make(), ALWAYS)
    unused = set()
    for seed in range(6):
        check(net, fast, "input_values", x, seed)
        unused.add(tuple(n for n, p in net.named_parameters() if p.grad is None))
    assert len(unused) > 2  # The layers that are skipped differ.
