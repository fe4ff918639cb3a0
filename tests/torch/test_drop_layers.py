"""One notion of a drop layer: predict, schedule, convert and audit find the same ones."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
import torch
from monai.networks.layers.drop_path import DropPath as MonaiDropPath
from torch import Tensor, nn
from transformers.models.beit.modeling_beit import BeitDropPath
from transformers.models.swin.modeling_swin import SwinDropPath

import mapdrop.torch as md
from mapdrop import rates
from mapdrop.torch.drop_layers import rate_of
from mapdrop.torch.predict.loop import NothingDroppedError

P = 0.25
# Their packages have the names of the functions.
AUDIT, MEASURE = (import_module(f"mapdrop.torch.audit.{name}") for name in ("audit", "measure"))


class Path(nn.Module):
    """Drop path under a name that does not tell."""

    def __init__(self, drop_prob: float = P) -> None:
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        kept = torch.rand(len(x), *[1] * (x.dim() - 1), dtype=x.dtype) >= P
        return x * kept / (1 - P)


class DropPath(Path):
    """As it is copied from file to file."""


class StochasticDepth(Path):
    """As torchvision has it: with p."""

    def __init__(self) -> None:
        super().__init__()
        del self.drop_prob
        self.p = P


class CountingDropout(StochasticDepth):
    """Has a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))


class BranchDrop(StochasticDepth):
    """Has no rate under a usual name."""

    def __init__(self) -> None:
        super().__init__()
        del self.p
        self.keep = 1 - P


class Droplet(nn.Module):
    """Is none: it adds noise in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.p = P

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.rand_like(x) if self.training else x


class DropBox(Droplet):
    """Is none either."""


class DropletNet(Droplet):
    """Nor is a model."""


class DropNorm(DropPath):
    """Is more than a drop layer: it has parameters, and may do more in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))


class OwnAttention(nn.MultiheadAttention):
    """Somebody's."""


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "PyTorch's": lambda: nn.Dropout(P),
    "PyTorch's with other values": lambda: nn.FeatureAlphaDropout(P),
    "MONAI's": lambda: MonaiDropPath(P),
    "transformers'": lambda: BeitDropPath(P),
    "transformers' of another file": lambda: SwinDropPath(P),
    "DropPath": DropPath,
    "StochasticDepth": StochasticDepth,
    "a buffer": CountingDropout,
    "no telling name": Path,
}
OTHERS: dict[str, Callable[[], nn.Module]] = {
    "Droplet": Droplet,
    "DropBox": DropBox,
    "DropletNet": DropletNet,
    "parameters": DropNorm,
    "parts": lambda: nn.Sequential(nn.ReLU()),
}


class Around(nn.Module):
    """A model that has a layer and gives it one tensor."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.linear, self.layer = nn.Linear(8, 8), layer

    def forward(self, x: Tensor) -> Any:
        return self.layer(self.linear(x))


class Recurrent(Around):
    """A model whose layer returns its state, too."""

    def forward(self, x: Tensor) -> Any:
        return self.layer(self.linear(x))[0]


class Attending(Around):
    """A model that attends to itself."""

    def forward(self, x: Tensor) -> Any:
        y = self.linear(x)
        return self.layer(y, y, y)[0]


INSIDE: dict[str, Callable[[], Around]] = {
    "LSTM": lambda: Recurrent(nn.LSTM(8, 8, 2, dropout=P)),
    "GRU": lambda: Recurrent(nn.GRU(8, 8, 2, dropout=P)),
    "attention": lambda: Attending(nn.MultiheadAttention(8, 2, dropout=P)),
    "a subclass": lambda: Attending(OwnAttention(8, 2, dropout=P)),
}
SCRIPTED: dict[str, Callable[[], Around]] = {
    "layer": lambda: Around(nn.Dropout(P)),
    "inside": INSIDE["LSTM"],
}


def predict_finds(layer: nn.Module) -> bool:
    """Return whether the passes of predict differ."""
    return varies(Around(layer), torch.ones(16, 3, 4, 8))


def varies(model: nn.Module, x: Tensor) -> bool:
    try:
        return bool(md.predict(model, x, 3, seed=1).std.any())
    except NothingDroppedError:
        return False


def schedule_finds(layer: nn.Module) -> bool:
    """Return whether schedule names the layer as one that it does not change."""
    model = nn.ModuleDict({"own": md.Dropout(P), "other": layer})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        md.schedule(model, rates.linear(0, 1, 4), None)
    return any("'other'" in str(warning.message) for warning in caught)


def convert_finds(layer: nn.Module) -> bool:
    """Return whether convert replaces the layer, or says that it stayed."""
    model = md.convert(nn.ModuleDict({"own": nn.Dropout(P), "other": layer}))
    report = md.convert_report(model)
    left = any(one.name == "other" and "is a function" not in one.reason for one in report.left)
    return left or any("other" in one.names for one in report.replaced)


def audit_finds(layer: nn.Module) -> bool:
    """Return whether audit takes the layer for the place of a drop."""
    found = md.audit(Around(layer), torch.ones(16, 3, 4, 8))
    return [drop.name for drop in found.drops if not drop.functional] == ["layer"]


USERS: dict[str, Callable[[nn.Module], bool]] = {
    "predict": predict_finds,
    "schedule": schedule_finds,
    "convert": convert_finds,
    "audit": audit_finds,
}
users = pytest.mark.parametrize("finds", USERS.values(), ids=USERS)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure no longer than the question needs."""
    monkeypatch.setattr(AUDIT, "_skipped", lambda model, given: (None, []))
    monkeypatch.setattr(MEASURE, "_SECONDS", 0.01)


@users
@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_a_drop_layer_is_one_to_all(
    make: Callable[[], nn.Module], finds: Callable[[nn.Module], bool]
) -> None:
    assert finds(make())
    assert rate_of(make()) == P


@users
@pytest.mark.parametrize("make", OTHERS.values(), ids=OTHERS)
def test_what_is_none_is_none_to_all(
    make: Callable[[], nn.Module], finds: Callable[[nn.Module], bool]
) -> None:
    assert not finds(make())


@pytest.mark.parametrize("finds", [predict_finds, convert_finds, audit_finds])
def test_a_layer_of_unknown_rate_is_one(finds: Callable[[nn.Module], bool]) -> None:
    """Schedule says nothing of it: its rate may be 0."""
    assert finds(BranchDrop())
    assert rate_of(BranchDrop()) is None
    assert not schedule_finds(BranchDrop())


@pytest.mark.parametrize("make", INSIDE.values(), ids=INSIDE)
def test_what_drops_inside_pytorchs_own_code(make: Callable[[], Around]) -> None:
    model, x = make(), torch.ones(5, 4, 8)
    assert schedule_finds(model.layer)
    assert convert_finds(model.layer)
    assert varies(model, x)
    (drop,) = md.audit(model, x).drops  # It sees the call itself.
    assert (drop.p, drop.functional) == (P, True)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.MultiheadAttention])
def test_no_rate_inside_is_no_drop(kind: Callable[..., nn.Module]) -> None:
    layer = kind(8, 2)
    assert not schedule_finds(layer)
    assert not convert_finds(layer)


@pytest.mark.parametrize("make", SCRIPTED.values(), ids=SCRIPTED)
def test_scripted_modules_are_what_they_were(make: Callable[[], Around]) -> None:
    scripted: Any = torch.jit.script(make())
    assert schedule_finds(scripted.layer)
    assert convert_finds(scripted.layer)
    assert varies(nn.Sequential(scripted), torch.ones(5, 4, 8))


def test_audit_takes_no_scripted_layer_for_one_that_is_never_called() -> None:
    """Their calls are made where nobody sees them."""
    scripted: Any = torch.jit.script(nn.Sequential(nn.Dropout(P)))
    found = md.audit(Around(scripted), torch.ones(16, 3, 4, 8))
    assert not found.findings
    assert not audit_finds(scripted)
