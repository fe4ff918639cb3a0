"""Functional dropout is found in the code of real models, and what is none is not."""

from __future__ import annotations

from functools import partial, wraps
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - so it is written in the models that are read.
import transformers
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from mapdrop.torch import convert, convert_report
from mapdrop.torch.convert.functional import functional_drops


def left(net: nn.Module) -> list[tuple[str, str]]:
    return [(left.name, left.what) for left in convert_report(convert(net)).left]


def test_attention_of_a_model_of_transformers_is_found() -> None:
    config = transformers.Dinov2Config(hidden_size=16, num_hidden_layers=2, num_attention_heads=2)
    names, calls = zip(*left(transformers.Dinov2Model(config)), strict=True)
    assert names == ("encoder.layer.0.attention", "encoder.layer.1.attention")
    assert set(calls) == {calls[0]}
    assert calls[0].startswith("dropout in eager_attention_forward (modeling_dinov2.py, line ")


def test_the_line_is_that_of_the_call() -> None:
    from transformers.models.opt import modeling_opt

    calls = functional_drops(modeling_opt.OPTDecoderLayer)
    lines = Path(modeling_opt.__file__).read_text().splitlines()
    assert len(calls) == 2
    for call in calls:
        number = int(call.rpartition(" ")[2][:-1])
        assert "nn.functional.dropout(hidden_states, p=self.dropout" in lines[number - 1]


@pytest.mark.parametrize(
    ("module", "what"),
    [
        (nn.MultiheadAttention(8, 2, dropout=0.1), "MultiheadAttention with dropout=0.1"),
        (nn.LSTM(8, 8, 2, dropout=0.2), "LSTM with dropout=0.2"),
        (nn.GRU(8, 8, 2, dropout=0.3), "GRU with dropout=0.3"),
    ],
)
def test_dropout_inside_pytorch_s_modules_is_found(module: nn.Module, what: str) -> None:
    assert left(nn.Sequential(module, nn.Dropout())) == [("0", what)]


def test_rates_of_zero_are_none() -> None:
    net = nn.Sequential(nn.LSTM(8, 8), nn.MultiheadAttention(8, 2), nn.Dropout())
    assert left(net) == []


# --- Code of many kinds. Each is a forward, and the functions that it should be said to call.


def helper(x: Tensor, p: float) -> Tensor:
    return F.dropout(x, p)


def decorated(function: Any) -> Any:
    return wraps(function)(lambda *args: function(*args))


def drop_path(x: Tensor, p: float, training: bool) -> Tensor:
    return x * torch.rand(len(x), 1).lt(p) if training else x


class Found(nn.Module):
    """The parent of those below."""

    rate = 0.1

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(self.rate)
        self.p = self.rate


class Direct(Found):
    def forward(self, x: Tensor) -> Tensor:
        return torch.nn.functional.dropout(x, self.p, training=self.training)


class Maps(Found):
    def forward(self, x: Tensor) -> Tensor:
        return F.dropout2d(x, self.p, self.training) + torch.dropout(x, 0.5, True)


class ByHelper(Found):
    def forward(self, x: Tensor) -> Tensor:
        return helper(x, self.p)


class ByMethod(Found):
    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.inner(x)
        return made

    @decorated
    def inner(self, x: Tensor) -> Tensor:
        return F.alpha_dropout(x, self.p)


class AsArgument(Found):
    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = partial(helper, p=self.p)(x)
        return made


class Attention(Found):
    def forward(self, x: Tensor) -> Tensor:
        return scaled_dot_product_attention(x, x, x, dropout_p=self.p if self.training else 0.0)


class ByName(Found):
    def forward(self, x: Tensor) -> Tensor:
        return x + drop_path(x, self.p, self.training)


class Layers(Found):
    """Its layer has the name of a function."""

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.dropout(x)
        return made


class Inactive(Found):
    def forward(self, x: Tensor) -> Tensor:
        x = scaled_dot_product_attention(x, x, x) + F.dropout(x, training=False)
        return scaled_dot_product_attention(x, x, x, dropout_p=0.0) + F.dropout(x, p=0.0)


class Local(Found):
    """A local name hides that of a function."""

    def forward(self, x: Tensor) -> Tensor:
        drop_path = torch.relu
        return drop_path(x)


class Recursive(Found):
    def forward(self, x: Tensor) -> Tensor:
        return self.forward(x[1:]) if len(x) else F.dropout(x)


FOUND: dict[type[nn.Module], list[str]] = {
    Direct: ["dropout in Direct.forward"],
    Maps: ["dropout2d in Maps.forward", "dropout in Maps.forward"],
    ByHelper: ["dropout in helper"],
    ByMethod: ["alpha_dropout in ByMethod.inner"],
    AsArgument: ["dropout in helper"],
    Attention: ["scaled_dot_product_attention in Attention.forward"],
    ByName: ["drop_path in ByName.forward"],
    Layers: [],
    Inactive: [],
    Local: [],
    Recursive: ["dropout in Recursive.forward"],
    nn.TransformerEncoderLayer: [],
}


@pytest.mark.parametrize("kind", FOUND, ids=lambda kind: kind.__name__)
def test_code_is_read(kind: type[nn.Module]) -> None:
    assert [call.partition(" (")[0] for call in functional_drops(kind)] == FOUND[kind]


def test_code_without_a_source_says_nothing() -> None:
    names: dict[str, Any] = {"nn": nn, "__name__": __name__}
    code = "class Made(nn.Module):\n    def forward(self, x): return nn.functional.dropout(x)"
    exec(code, names)
    assert functional_drops(names["Made"]) == []
