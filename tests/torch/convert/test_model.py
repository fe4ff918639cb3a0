"""What convert takes, what it changes, and what it keeps."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn

import mapdrop
from mapdrop.torch import (
    Drop,
    Dropout,
    DropPath,
    SpatialDropout2d,
    convert,
    convert_report,
    seeded,
)
from tests.torch.convert import peers


class Net(nn.Module):
    """One layer in several places, in containers of each kind."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.1)
        self.again = self.drop
        first = nn.Linear(8, 8)
        self.blocks = nn.ModuleList([nn.Sequential(first, nn.Dropout(0.2), self.drop)])
        self.heads = nn.ModuleDict({"a": nn.Dropout2d(0.3)})
        self.last = nn.Linear(8, 8)
        self.last.weight = first.weight

    def forward(self, x: Tensor) -> Tensor:
        (block,) = self.blocks
        made: Tensor = self.last(block(self.again(self.drop(x))))
        return made


def test_layers_are_replaced_wherever_they_stand() -> None:
    net = convert(Net())
    drops = {name: m.p for name, m in net.named_modules() if isinstance(m, Drop)}
    assert drops == {"drop": 0.1, "blocks.0.1": 0.2, "heads.a": 0.3}
    layers = dict(net.named_modules(remove_duplicate=False))
    assert layers["drop"] is layers["again"] is layers["blocks.0.2"]
    assert net.last.weight is layers["blocks.0.0"].weight
    assert not any(type(m) is nn.Dropout for m in net.modules())


def test_the_report_names_every_place() -> None:
    report = convert_report(convert(Net()))
    names = [replaced.names for replaced in report.replaced]
    assert names == [("drop", "again", "blocks.0.2"), ("blocks.0.1",), ("heads.a",)]
    assert report.left == ()
    assert "Dropout(p=0.2, inplace=False) -> Dropout('... -> ...', p=0.2)" in str(report)


def test_alike_layers_have_one_line() -> None:
    net = convert(nn.Sequential(*[nn.Dropout(0.1) for _ in range(3)], nn.AlphaDropout(0.2)))
    lines = str(convert_report(net)).splitlines()
    assert len(lines) == 2
    assert lines[0].endswith("Dropout('... -> ...', p=0.1)  (0 and 2 more)")
    assert lines[1].endswith("AlphaDropout(p=0.2, inplace=False): no key fits it  (3)")


def test_a_model_that_is_a_drop_layer_is_returned_anew() -> None:
    old = nn.Dropout2d(0.3).eval()
    new: nn.Module = convert(old)
    assert isinstance(new, SpatialDropout2d)
    assert new.p == 0.3
    assert not new.training
    assert type(old) is nn.Dropout2d
    assert convert_report(new).replaced[0].names == ("",)
    assert "(the model itself)" in str(convert_report(new))


def test_training_flags_stay() -> None:
    net = nn.Sequential(nn.Dropout(), nn.Dropout().eval())
    assert [layer.training for layer in convert(net)] == [True, False]


def test_hooks_stay_with_their_handles() -> None:
    net, calls = nn.Sequential(nn.Dropout(0.5)), []
    net[0].register_forward_pre_hook(lambda layer, args: calls.append(("before", type(layer))))
    handle = net[0].register_forward_hook(
        lambda layer, args, kwargs, made: calls.append(("after", type(layer))), with_kwargs=True
    )
    convert(net)(torch.ones(3))
    assert calls == [("before", Dropout), ("after", Dropout)]
    handle.remove()
    net(torch.ones(3))
    assert calls[2:] == [("before", Dropout)]


def test_a_second_conversion_has_nothing_to_do_and_keeps_the_report() -> None:
    net = convert(Net())
    layers, report = list(net.modules()), convert_report(net)
    assert list(convert(net).modules()) == layers
    assert convert_report(net) == report


def test_a_second_conversion_goes_on() -> None:
    net = convert(nn.Sequential(nn.Dropout(), nn.Dropout2d()), {nn.Dropout: DropPath})
    assert [type(layer) for layer in net] == [DropPath, nn.Dropout2d]
    convert(net)
    assert [type(layer) for layer in net] == [DropPath, SpatialDropout2d]
    assert [replaced.names for replaced in convert_report(net).replaced] == [("0",), ("1",)]


def test_state_dicts_of_the_old_model_fit() -> None:
    torch.manual_seed(1)
    old, new = Net(), convert(Net())
    assert list(old.state_dict()) == list(new.state_dict())
    new.load_state_dict(old.state_dict())
    x = torch.randn(2, 8)
    assert torch.equal(old.eval()(x), new.eval()(x))


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_a_copy_has_the_report(twin: Any) -> None:
    net = convert(Net())
    assert convert_report(twin(net)) == convert_report(net)


def test_what_fx_traced_is_converted() -> None:
    net = fx.symbolic_trace(nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5)))
    convert(net)(torch.ones(4, 8)).sum().backward()
    x = torch.ones(4, 8)
    assert not torch.equal(net(x), net(x))
    assert isinstance(net.get_submodule("1"), Dropout)


# --- Keys and values.


def kinds(layers: Mapping[Any, Any], *old: nn.Module) -> list[str]:
    return [type(layer).__name__ for layer in convert(nn.Sequential(*old), layers)]


def test_a_class_stands_for_itself_alone() -> None:
    gaussian = peers.Gaussian(0.1)
    assert kinds({nn.Dropout: Dropout}, gaussian, nn.Dropout()) == ["Gaussian", "Dropout"]
    assert kinds({peers.Gaussian: DropPath}, gaussian, nn.Dropout()) == ["DropPath", "Dropout"]


def test_a_name_is_exact_or_has_wildcards() -> None:
    layers = peers.DropPath(), peers.Dinov2DropPath()
    assert kinds({"DropPath": Dropout}, *layers) == ["Dropout", "Dinov2DropPath"]
    assert kinds({"*DropPath": Dropout}, *layers) == ["Dropout", "Dropout"]
    assert kinds({"Dropout": DropPath}, nn.Dropout(), nn.AlphaDropout()) == [
        "DropPath",
        "AlphaDropout",
    ]


def test_the_first_key_that_fits_counts() -> None:
    first = {nn.Dropout: DropPath, "Dropout*": SpatialDropout2d}
    assert kinds(first, nn.Dropout(), nn.Dropout2d()) == ["DropPath", "SpatialDropout2d"]


def test_a_name_never_stands_for_a_layer_of_mapdrop_but_its_class_does() -> None:
    old = DropPath(0.2)
    assert kinds({"*DropPath": Dropout}, old, peers.DropPath()) == ["DropPath", "Dropout"]
    assert kinds({DropPath: lambda old: Dropout(old.p)}, old) == ["Dropout"]


def test_a_function_makes_a_layer_of_any_kind_from_the_old_one() -> None:
    def tokens(old: nn.Dropout) -> nn.Module:
        return Drop("b t c -> b c", old.p) if old.p else old

    old = nn.Sequential(nn.Dropout(0.25), nn.Dropout(0.0)).eval()
    net = convert(old, {nn.Dropout: tokens})
    assert repr(net[0]) == "Drop('b t c -> b c', p=0.25)"
    assert not net[0].training
    assert type(net[1]) is nn.Dropout


WRONG: dict[str, tuple[type[Exception], str, nn.Module | Any, Any]] = {
    "no model": (TypeError, "takes a torch.nn.Module, .* not Tensor", torch.ones(2), None),
    "a scripted model": (
        TypeError, "before torch.jit.script compiles it", torch.jit.script(nn.Dropout()), None,
    ),
    "a number as key": (TypeError, "a class of layers or its name, not 3", Net(), {3: Dropout}),
    "another class as key": (TypeError, "a class of layers or its", Net(), {Tensor: Dropout}),
    "a name as value": (TypeError, "a function of the old layer, not 'D", Net(), {"Dropout": "D"}),
    "PyTorch's class as value": (
        TypeError, "Dropout2d is no layer of mapdrop.torch", Net(), {nn.Dropout: nn.Dropout2d},
    ),
    "Drop as value": (TypeError, "lambda old: Drop", Net(), {nn.Dropout: Drop}),
    "nothing": (ValueError, "layers is empty", Net(), {}),
    "a key without effect": (
        ValueError, "fits '\\*DropPath', Dropout3d; it has these drop layers: Dropout, Dropout2d$",
        Net(), {nn.Dropout: Dropout, nn.Dropout3d: Dropout, "*DropPath": DropPath},
    ),
    "no drop layer": (ValueError, "the model has no drop layers", nn.Linear(2, 2), None),
    "none with a counterpart": (
        ValueError, "has these drop layers: AlphaDropout", nn.Sequential(nn.AlphaDropout()), None,
    ),
    "no layer made": (
        TypeError, "new layer for .* is a torch.nn.Module, not 3", Net(), {nn.Dropout: lambda _: 3},
    ),
    "a layer with parameters": (
        ValueError, "has parameters, buffers or layers", Net(), {nn.Linear: Dropout},
    ),
    "a seeded model": (
        ValueError, "seeded, and new layers would not be: convert it first",
        seeded(nn.Sequential(Dropout(), nn.Dropout()), 7), None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_done_is_an_error_and_changes_nothing(case: str) -> None:
    error, message, net, layers = WRONG[case]
    before = list(net.modules()) if isinstance(net, nn.Module) else []
    with pytest.raises(error, match=message):
        convert(net, layers)
    assert not before or list(net.modules()) == before


def test_a_report_is_for_what_convert_returned() -> None:
    with pytest.raises(TypeError, match="takes what convert returned, not another Net"):
        convert_report(Net())


def test_a_wrong_rank_is_an_error_where_pytorch_guesses() -> None:
    net = convert(nn.Sequential(nn.Dropout2d(0.5)))
    with pytest.raises(mapdrop.PatternError, match="SpatialDropout2d takes 4 axes"):
        net(torch.ones(2, 3, 4))


def test_hooks_on_loading_a_state_go_on() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.2))
    seen: list[nn.Module] = []
    handle = net[1].register_load_state_dict_pre_hook(lambda module, *rest: seen.append(module))
    state = net.state_dict()
    convert(net)
    net.load_state_dict(state)
    assert seen == [net[1]]
    assert isinstance(net[1], Dropout)
    handle.remove()
    net.load_state_dict(state)
    assert len(seen) == 1


class TokenDropPath(nn.Module):
    """Drops tokens, not samples."""

    def __init__(self) -> None:
        super().__init__()
        self.drop_prob = 0.2

    def forward(self, x: Tensor) -> Tensor:
        return x * (torch.rand(*x.shape[:2], 1) > self.drop_prob) if self.training else x


class AddingDropPath(TokenDropPath):
    def forward(self, x: Tensor, residual: Tensor) -> Tensor:  # type: ignore[override]
        return x + residual


@pytest.mark.parametrize("kind", [TokenDropPath, AddingDropPath])
def test_a_layer_by_name_must_drop_samples(kind: type[nn.Module]) -> None:
    net = nn.Sequential(nn.Dropout(0.2), kind())
    state = torch.get_rng_state()
    convert(net)
    assert torch.equal(state, torch.get_rng_state())
    assert type(net[1]) is kind
    (left,) = convert_report(net).left
    assert "does not drop whole samples" in left.reason
