"""Models of transformers and MONAI, with the faults that they have."""

from __future__ import annotations

from typing import Any

import monai.networks.nets
import pytest
import torch
import transformers
from torch import nn

import mapdrop.torch as md

MONAI: Any = monai  # Whose parts have no types.
TRANSFORMERS: Any = transformers
SMALL: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
VIT: dict[str, Any] = {**SMALL, "image_size": 16, "patch_size": 8}
PIXELS = torch.zeros(4, 3, 16, 16)
TOKENS = torch.ones(4, 10, dtype=torch.long)


def bert(attention: str) -> nn.Module:
    config = TRANSFORMERS.BertConfig(**SMALL, vocab_size=20, attn_implementation=attention)
    model: nn.Module = TRANSFORMERS.BertModel(config)
    return model


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_bert_drops_its_attention_by_a_function(attention: str) -> None:
    found = md.audit(bert(attention), TOKENS)
    assert not found.findings
    assert {note.check for note in found.notes} == {"functional"}
    assert [note.name for note in found.notes] == [
        f"encoder.layer.{i}.attention.self" for i in (0, 1)
    ]
    assert all("attention.py:" in n.where or "bert.py:" in n.where for n in found.notes)
    assert [drop.name for drop in found.drops if not drop.functional] == [
        "embeddings.dropout",
        *(f"encoder.layer.{i}.{n}.dropout" for i in (0, 1) for n in ("attention.output", "output")),
    ]
    assert {(drop.p, drop.unit) for drop in found.drops} == {(0.1, "values")}


def test_dinov2_calls_each_drop_path_twice() -> None:
    config = TRANSFORMERS.Dinov2Config(**VIT, drop_path_rate=0.2)
    found = md.audit(TRANSFORMERS.Dinov2Model(config), PIXELS)
    assert not found.findings
    again = [note for note in found.notes if note.check == "called again"]
    assert [note.name for note in again] == [f"encoder.layer.{i}.drop_path" for i in (0, 1)]
    places = [(drop.name, drop.where) for drop in found.drops]
    assert len(set(places)) == len(places) == 4
    assert all("transformers/models/dinov2/modeling_dinov2.py:" in where for _, where in places)
    assert {(drop.kind, drop.unit, drop.p) for drop in found.drops} == {
        ("Dinov2DropPath", "samples", 0.2)
    }


@pytest.mark.exhaustive
def test_dinov2_in_bfloat16_drops_nothing_at_a_small_rate() -> None:
    config = TRANSFORMERS.Dinov2Config(**VIT, drop_path_rate=0.001)
    model = TRANSFORMERS.Dinov2Model(config).bfloat16()
    found = md.audit(model, PIXELS.bfloat16())
    assert {finding.check for finding in found.findings} == {"rate"}
    assert {drop.rate for drop in found.drops} == {0.0}
    assert not md.audit(model.float(), PIXELS).findings


def test_vit_has_no_findings() -> None:
    config = TRANSFORMERS.ViTConfig(**VIT, hidden_dropout_prob=0.1)
    assert not md.audit(TRANSFORMERS.ViTModel(config), PIXELS).findings


@pytest.mark.parametrize("layerdrop", [0.0, 1.0])
def test_wav2vec2_has_no_findings_whether_it_skips_layers(layerdrop: float) -> None:
    config = TRANSFORMERS.Wav2Vec2Config(
        **SMALL, conv_dim=[8, 8], conv_stride=[5, 4], conv_kernel=[10, 4],
        num_feat_extract_layers=2, num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2,
        mask_time_prob=0.0, layerdrop=layerdrop,
    )  # fmt: skip
    assert not md.audit(TRANSFORMERS.Wav2Vec2Model(config), torch.zeros(2, 400)).findings


def test_densenet_drops_before_batch_norm() -> None:
    net = MONAI.networks.nets.DenseNet(
        2, 3, 4, init_features=8, growth_rate=4, block_config=(2, 2), dropout_prob=0.2
    )
    found = md.audit(net, torch.zeros(4, 3, 32, 32))
    assert {finding.check for finding in found.findings} == {"before BatchNorm"}
    names = {finding.name for finding in found.findings}
    assert names == {drop.name for drop in found.drops}
    assert len(names) == 4
    assert all("monai/networks/nets/densenet.py:" in f.where for f in found.findings)


def test_monai_s_convolutions_drop_behind_their_norm() -> None:
    net = MONAI.networks.nets.BasicUNet(2, 3, 4, (8, 8, 8, 8, 8, 8), norm="batch", dropout=0.1)
    found = md.audit(net, torch.zeros(2, 3, 32, 32))
    assert not found.findings
    assert len(found.drops) > 10
