"""Monte-Carlo predictions of other people's models equal the plain loop over them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks.models.medical import basic_unet, dense_net, unet, vnet
from benchmarks.models.vision import VISION_MODELS
from mapdrop.torch import predict
from tests.torch.compact.agreement import ALWAYS, pixels

CLOSE: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-10}
TINY: dict[str, Any] = {
    "vocab_size": 99,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}


def bert() -> nn.Module:
    import transformers

    config = transformers.BertConfig(**TINY, intermediate_size=32)
    made: nn.Module = transformers.BertModel(config)
    return made


def words() -> dict[str, Any]:
    mask = torch.ones(3, 7, dtype=torch.long)
    mask[1, 4:] = 0
    return {"input_ids": torch.arange(21).view(3, 7), "attention_mask": mask}


Make = Callable[[], tuple[nn.Module, Any]]
MODELS: dict[str, Make] = {
    "Bert": lambda: (bert(), words()),
    "UNet": lambda: (unet((4, 8, 16), spatial=True), pixels(2, 1, 32, 32)),
    "UNet by values": lambda: (unet((4, 8, 16), spatial=False), pixels(2, 1, 32, 32)),
    "BasicUNet": lambda: (basic_unet((4, 4, 8, 16, 32, 4), spatial=True), pixels(2, 1, 32, 32)),
    "DenseNet": lambda: (dense_net(4, (2, 2)), pixels(2, 3, 32, 32)),
    "VNet": lambda: (vnet(spatial=False), pixels(2, 1, 32, 32)),
}
for model in VISION_MODELS:
    MODELS[model.name] = lambda model=model: (  # type: ignore[misc]
        model.build(0.4, small=True),
        pixels(3, 3, 32, 32),
    )


def wanted(result: Any) -> Any:
    return getattr(result, "last_hidden_state", result)


def active(module: nn.Module) -> bool:
    """Whether training mode means that such a module drops, and nothing else."""
    name = type(module).__name__
    return "Dropout" in name or "DropPath" in name or name.endswith("SelfAttention")


def attends(module: nn.Module) -> bool:
    """Whether it hands its rate to PyTorch's attention in training mode."""
    return type(module).__name__.endswith("SelfAttention")


def batch(inputs: Any) -> Any:
    return inputs["input_ids"] if isinstance(inputs, dict) else inputs


def run(net: nn.Module, inputs: Any, seed: int, rows: slice) -> Any:
    """Return what a model alone returns for some rows, after its seed."""
    torch.manual_seed(seed)
    with torch.no_grad():
        if isinstance(inputs, dict):
            return wanted(net(**{name: value[rows] for name, value in inputs.items()}))
        return wanted(net(inputs[rows]))


@pytest.mark.parametrize("one_mask", ["sample", "batch"])
@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_models_of_packages_have_the_masks_of_the_plain_loop(make: Make, one_mask: str) -> None:
    torch.manual_seed(1)
    net, inputs = make()
    net.double().train()
    alone = one_mask == "batch"
    found = predict(
        net,
        inputs,
        3,
        seed=1,
        output=wanted,
        one_mask=one_mask,
        keep_samples=True,
        active=attends,
        costs=ALWAYS,
    )
    assert not found.reason
    plain = copy.deepcopy(net).eval()
    for module in plain.modules():
        module.training = active(module)
    assert any(module.training for module in plain.modules())
    rows = [slice(i, i + 1) for i in range(len(batch(inputs)))]
    want = [
        torch.cat([run(plain, inputs, seed, part) for part in (rows if alone else [slice(None)])])
        for seed in found.seeds
    ]
    torch.testing.assert_close(found.samples, torch.stack(want), **CLOSE)
    assert len(found.samples.flatten(1).unique(dim=0)) == 3
