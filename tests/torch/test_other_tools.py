"""What other tools make of the layers: Monte-Carlo dropout, torch.fx, TorchScript."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn

import mapdrop
from mapdrop.torch import Drop, DropBlock2d, Dropout, DropPath, SpatialDropout2d, seeded

RATE = 0.25
LAYERS: dict[str, Callable[..., Drop]] = {
    "Drop": lambda **k: Drop("b (g k) h w -> b g", RATE, exact="g", k=2, **k),
    "Dropout": lambda **k: Dropout(RATE, **k),
    "DropPath": lambda **k: DropPath(RATE, **k),
    "SpatialDropout2d": lambda **k: SpatialDropout2d(RATE, **k),
    "shared": lambda **k: SpatialDropout2d(RATE, share=3, balance=True, **k),
    "DropBlock2d": lambda **k: DropBlock2d(RATE, 2, **k),
}
every = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
SHAPE = (64, 8, 4, 4)


def check_dropped(y: Tensor, x: Tensor) -> None:
    """About a fourth is dropped, and the rest is scaled: neither x, nor zeros, nor garbage."""
    kept = y != 0
    assert 0.05 < 1 - kept.float().mean().item() < 0.6
    assert torch.equal(y[kept], x[kept] * (1 / (1 - RATE)))


# --- Monte-Carlo dropout.


@every
def test_tools_that_look_for_pytorch_s_base_class_find_the_layers(
    make: Callable[..., Drop],
) -> None:
    """As torch-uncertainty's MCDropout looks for what stays in training."""
    net = nn.Sequential(nn.BatchNorm2d(8), make()).eval()
    for module in net.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            assert module.p == RATE
            module.train()
    x = torch.randn(SHAPE)
    assert not net[0].training
    first, second = net(x), net(x)
    check_dropped(first, net[0](x))
    assert not torch.equal(first, second)


def test_tools_that_replace_nn_dropout_find_ours() -> None:
    """As baal's patch_module makes the layers that it puts in their place."""
    found = [
        (module.p, module.inplace)
        for module in nn.Sequential(Dropout(0.3, inplace=True), SpatialDropout2d(0.2))
        if isinstance(module, nn.Dropout)
    ]
    assert found == [(0.3, True)]


# --- torch.fx.


@every
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_what_fx_traced_drops_in_training_alone(make: Callable[..., Drop], training: bool) -> None:
    net = nn.Sequential(nn.Identity(), make()).train(training)
    traced = fx.symbolic_trace(net)
    x = torch.randn(SHAPE)
    assert torch.equal(traced.eval()(x), x)
    check_dropped(traced.train()(x), x)


def test_two_calls_of_one_layer_are_two_in_what_fx_traced() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop = Dropout(RATE)

        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([self.drop(x), self.drop(x)])

    x = torch.randn(SHAPE)
    first, second = fx.symbolic_trace(Twice().eval()).train()(x)
    check_dropped(first, x)
    check_dropped(second, x)
    assert not torch.equal(first, second)


def test_a_layer_traced_alone_and_a_function_are_calls() -> None:
    x = torch.randn(SHAPE)
    alone = fx.symbolic_trace(SpatialDropout2d(RATE))
    check_dropped(alone(x), x)
    assert not torch.equal(alone(x), alone(x))

    def function(x: Tensor) -> Tensor:
        return mapdrop.drop(x, "b c h w -> b c", RATE, seed=7)

    assert torch.equal(fx.symbolic_trace(function)(x), function(x))


def test_a_wrong_rank_is_still_refused_by_what_fx_traced() -> None:
    traced = fx.symbolic_trace(nn.Sequential(SpatialDropout2d(RATE)))
    with pytest.raises(mapdrop.PatternError, match="SpatialDropout2d takes 4 axes"):
        traced(torch.ones(2, 3, 4))


class Block(nn.Module):
    def __init__(self, layer: Drop) -> None:
        super().__init__()
        self.drop = layer

    def forward(self, x: Tensor, doubled: bool = False) -> Tensor:
        made: Tensor = self.drop(x * 2 if doubled else x)
        return made


class NoLeaves(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return False


class Blocks(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, Block)


@every
@pytest.mark.parametrize(
    ("tracer", "calls"), [(NoLeaves, ["0.drop"]), (Blocks, ["0"]), (fx.Tracer, ["0.drop"])]
)
def test_layers_are_calls_under_each_rule_for_leaves(
    make: Callable[..., Drop], tracer: type[fx.Tracer], calls: list[str]
) -> None:
    net = nn.Sequential(Block(make())).eval()
    made = fx.GraphModule(net, tracer().trace(net))
    assert [node.target for node in made.graph.find_nodes(op="call_module")] == calls


@every
def test_what_fx_made_can_be_run_changed_and_traced_again(make: Callable[..., Drop]) -> None:
    made = fx.symbolic_trace(nn.Sequential(Block(make())).eval())
    x = torch.randn(SHAPE)
    for again in (fx.Transformer(made).transform(), fx.symbolic_trace(made)):
        assert torch.equal(again.eval()(x), x)
        check_dropped(again.train()(x), x)
    assert torch.equal(fx.Interpreter(made.eval()).run(x), x)
    check_dropped(fx.Interpreter(made.train()).run(x), x)


@every
def test_arguments_may_be_fixed_when_fx_traces(make: Callable[..., Drop]) -> None:
    made = fx.symbolic_trace(Block(make()).eval(), concrete_args={"doubled": True})
    x = torch.randn(SHAPE)
    assert torch.equal(made(x, True), 2 * x)
    check_dropped(made.train()(x, True), 2 * x)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_prepare_qat_fx_keeps_the_layer() -> None:
    from torch.ao.quantization import get_default_qat_qconfig_mapping, quantize_fx

    net = nn.Sequential(nn.Conv2d(8, 8, 1), SpatialDropout2d(RATE)).train()
    x = torch.randn(SHAPE)
    made = quantize_fx.prepare_qat_fx(net, get_default_qat_qconfig_mapping(), (x,))
    assert [type(m) for m in made.modules() if isinstance(m, Drop)] == [SpatialDropout2d]
    maps = (made(x) == 0).all(dim=(2, 3))
    assert 0.15 < maps.float().mean().item() < 0.35
    assert not (made.eval()(x) == 0).all(dim=(2, 3)).any()


# --- TorchScript.


def traced(net: nn.Module, x: Tensor) -> Any:
    """What torch.jit.trace makes of it, saved and loaded."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", torch.jit._trace.TracerWarning)
        return reloaded(torch.jit.trace(net, x, check_trace=False))


def scripted(net: nn.Module) -> Any:
    """What torch.jit.script makes of it, saved and loaded."""
    return reloaded(torch.jit.script(net))


def reloaded(made: Any) -> Any:
    file = io.BytesIO()
    torch.jit.save(made, file)
    file.seek(0)
    return torch.jit.load(file)


@every
@pytest.mark.parametrize("grad", [True, False], ids=["grad", "no grad"])
@pytest.mark.parametrize("inplace", [False, True], ids=["new", "in place"])
def test_what_torchscript_traced_drops_anew_at_each_call(
    make: Callable[..., Drop], grad: bool, inplace: bool
) -> None:
    layer = make() if isinstance(make(), DropPath) or not inplace else make(inplace=True)
    net = nn.Sequential(nn.Identity(), layer)
    with torch.set_grad_enabled(grad):
        made = traced(net, torch.randn(SHAPE))
    x = torch.randn(32, 8, 6, 6, requires_grad=True)
    first, second = made(x * 1), made(x * 1)
    check_dropped(first, x.detach())
    check_dropped(second, x.detach())
    assert not torch.equal(first, second)
    (slope,) = torch.autograd.grad(first.sum(), x)
    assert torch.equal(slope, torch.where(first != 0, 1 / (1 - RATE), 0.0))


def test_two_layers_on_one_tensor_have_two_masks_in_torchscript() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = Dropout(RATE), Dropout(RATE)

        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([self.one(x), self.two(x)])

    made, x = torch.jit.freeze(traced(Two(), torch.ones(SHAPE)).eval()), torch.randn(SHAPE)
    for _ in range(3):  # TorchScript optimises at its second call.
        first, second = made(x)
        check_dropped(first, x)
        check_dropped(second, x)
        assert not torch.equal(first, second)


def test_a_given_seed_is_kept_by_torchscript() -> None:
    class Given(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return mapdrop.drop(x, "b c h w -> b c", RATE, seed=2**64 - 7, step=3, stream="s")

    x = torch.randn(32, 8, 6, 6)
    assert torch.equal(traced(Given(), torch.ones(SHAPE))(x), Given()(x))


@every
def test_what_torchscript_traced_in_eval_is_the_identity(make: Callable[..., Drop]) -> None:
    x = torch.randn(32, 8, 6, 6)
    assert torch.equal(traced(nn.Sequential(make()).eval(), torch.ones(SHAPE))(x), x)


@every
@pytest.mark.parametrize("finish", [lambda m: m, torch.jit.freeze], ids=["plain", "frozen"])
def test_what_was_scripted_in_eval_is_the_identity(
    make: Callable[..., Drop], finish: Callable[[Any], Any]
) -> None:
    layer = make()
    net = nn.Sequential(nn.Tanh(), layer).eval()
    x = torch.randn(SHAPE)
    assert torch.equal(finish(scripted(net))(x), x.tanh())
    assert net[1] is layer
    check_dropped(net.train()(x), x.tanh())


@every
def test_what_was_scripted_refuses_to_train(make: Callable[..., Drop]) -> None:
    made = scripted(nn.Sequential(make()).eval())
    with pytest.raises(torch.jit.Error, match=r"mapdrop is for inference: call eval\(\)"):
        made.train()(torch.randn(SHAPE))


@every
def test_scripting_in_training_says_what_can_be_done(make: Callable[..., Drop]) -> None:
    net = nn.Sequential(nn.ReLU(), make())
    with pytest.raises(
        TypeError, match=r"torch\.jit\.script compiles .* for inference alone: call"
    ):
        torch.jit.script(net)
    assert isinstance(net[1], Drop)


def test_a_seeded_layer_and_one_of_rate_zero_can_be_scripted() -> None:
    net = seeded(nn.Sequential(Dropout(RATE).eval(), DropPath(0.0)), 7)
    x = torch.randn(SHAPE)
    assert torch.equal(scripted(net)(x), x)
