"""LoRA dropout of peft: converted, checkpointed, compiled and seeded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mapdrop.torch import Drop, Dropout, convert, convert_report, seeded
from tests.conftest import framework
from tests.integration.test_statistics import accept

# transformers 5.24 has new names for what peft 0.21 and most code calls (seen 2026-11).
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning"),
    # PyTorch's compiler asks inputs of a graph for their gradients (seen in 2.13).
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf"),
]

RATE = 0.3
TOKENS = torch.arange(48).reshape(4, 12)


def adapted() -> Any:
    """A small Llama with adapters whose results are not 0, in training."""
    peft = framework("peft")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        use_cache=False,
    )
    lora = peft.LoraConfig(r=4, lora_dropout=RATE, target_modules=["q_proj", "v_proj", "down_proj"])
    model = peft.get_peft_model(transformers.LlamaForCausalLM(config), lora)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    return model.train()


def gradients(model: Any, call: Callable[..., Any] | None = None, seed: int = 7) -> list[Tensor]:
    """Of a step from the start of a seed's masks."""
    seeded(model, seed).zero_grad()
    (model if call is None else call)(input_ids=TOKENS, labels=TOKENS).loss.backward()
    return [p.grad.clone() for p in model.parameters() if p.requires_grad]


def far(ours: list[Tensor], others: list[Tensor]) -> float:
    """How far apart they are, of their size."""
    apart = [(a - b).norm() / a.norm() for a, b in zip(ours, others, strict=True)]
    return float(torch.stack(apart).max())


def checkpointed(model: Any, reentrant: bool) -> Any:
    model.enable_input_require_grads()
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    return model


def test_each_adapter_s_dropout_is_replaced() -> None:
    model = adapted()
    keys, wanted = list(model.state_dict()), model.eval()(input_ids=TOKENS).logits
    convert(model)
    assert len(convert_report(model).replaced) == 3
    assert list(model.state_dict()) == keys
    assert torch.equal(model(input_ids=TOKENS).logits, wanted)
    for layer in model.train().modules():
        if isinstance(layer, Dropout):
            accept(int((layer(torch.ones(10000)) == 0).sum()), 10000, RATE)


def test_adapters_are_merged_as_before() -> None:
    model = convert(adapted()).eval()
    wanted = model(input_ids=TOKENS).logits
    merged = model.merge_and_unload()
    assert not any(isinstance(layer, Drop) for layer in merged.modules())
    assert torch.allclose(merged(input_ids=TOKENS).logits, wanted, atol=1e-5)


@pytest.mark.parametrize("reentrant", [False, True])
def test_what_is_recomputed_has_the_mask_of_its_forward(reentrant: bool) -> None:
    plain, other = convert(adapted()), checkpointed(convert(adapted()), reentrant)
    wanted = gradients(plain)
    assert far(gradients(other), wanted) < 1e-6
    assert far(gradients(plain, seed=8), wanted) > 0.1


@pytest.mark.compiler
def test_inductor_compiles_a_checkpointed_adapter() -> None:
    """Of which huggingface/peft#3020 reports an error with `nn.Dropout`."""
    model = convert(adapted())
    layers = [m for m in model.modules() if isinstance(getattr(m, "lora_dropout", None), nn.Module)]

    def step(x: Tensor) -> Tensor:
        made: Tensor = checkpoint(layers[0], x, use_reentrant=False)
        return made.square().sum()

    def gradient(step: Callable[[Tensor], Tensor]) -> list[Tensor]:
        seeded(model, 7)
        x = torch.linspace(-1, 1, 32 * 8).reshape(8, 32).requires_grad_()
        return list(torch.autograd.grad(step(x), x))

    wanted = gradient(step)
    assert far(gradient(torch.compile(step, fullgraph=True)), wanted) < 1e-5


@pytest.mark.compiler
def test_a_compiled_model_has_the_same_masks() -> None:
    model = convert(adapted())
    wanted = gradients(model)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    assert far(gradients(model, compiled), wanted) < 1e-6
