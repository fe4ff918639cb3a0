"""A model that was exported in training is the model in eval without its drops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.utils.checkpoint import checkpoint

import mapdrop
import mapdrop.rates
import mapdrop.torch
from mapdrop.torch import Drop, Dropout, DropPath, SpatialDropout2d, remove_drops, seeded

pytestmark = [
    pytest.mark.compiler,
    # torch 2.13's run_decompositions warns of its own code (seen 2026-11).
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
]
RATE = 0.25


class InPlace(nn.Module):
    """It uses what was overwritten, not what the layer returned."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = SpatialDropout2d(RATE, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = x.tanh()
        self.drop(y)
        return y + 1


class Given(nn.Module):
    """By a seed and a step that are inputs."""

    def forward(self, x: Tensor, seed: Tensor, step: Tensor) -> Tensor:
        return mapdrop.drop(x.tanh(), "b c h w -> b c", RATE, seed=seed, step=step)


class Counted(nn.Module):
    """By a step that a buffer counts."""

    step: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("step", torch.tensor(3))

    def forward(self, x: Tensor) -> Tensor:
        self.step.add_(1)
        return mapdrop.drop(x.tanh(), "b c h w -> b c", RATE, seed=7, step=self.step)


class Complex(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = mapdrop.drop(torch.complex(x, -x), "b c h w -> b c", RATE)
        return made.imag


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.path, self.drop = nn.Conv2d(8, 8, 1), DropPath(RATE), Dropout(RATE)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.path(self.drop(self.conv(x)))
        made: Tensor = x + self.path(self.drop(self.conv(x)))
        return made


class Checkpointed(Branches):
    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = checkpoint(super().forward, x, use_reentrant=False)
        return made


class Residual(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.conv, self.options = nn.Conv2d(8, 8, 1), options

    def forward(self, x: Tensor) -> Tensor:
        return mapdrop.residual(self.conv, x, RATE, **self.options)


def scheduled(net: nn.Module) -> nn.Module:
    mapdrop.torch.schedule(net, mapdrop.rates.linear(0.5, 1, steps=3), None)
    return net


X = torch.randn(16, 8, 4, 4, generator=torch.Generator().manual_seed(2))
# What is exported, with its inputs after the first; and what it is without drops, if not eval.
MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[Tensor, ...], Any]] = {
    "layers": (Branches, (), None),
    "in place": (InPlace, (), None),
    "seeded": (lambda: seeded(Branches(), 7), (), None),
    "seeded, in place": (lambda: seeded(InPlace(), 7), (), None),
    "exact": (lambda: nn.Sequential(Drop("b c h w -> b c", RATE, exact="c")), (), None),
    "inputs": (Given, (torch.tensor(5), torch.tensor(2)), lambda net, x: x.tanh()),
    "buffer": (Counted, (), lambda net, x: x.tanh()),
    "complex": (Complex, (), lambda net, x: -x),
    "checkpoint": (Checkpointed, (), None),
    "scheduled": (lambda: scheduled(Branches()), (), None),
    "scheduled, seeded, in place": (lambda: scheduled(seeded(InPlace(), 7)), (), None),
    "residual": (Residual, (), lambda net, x: x + net.conv(x)),
}
STAGES: dict[str, Callable[[Any], Any]] = {
    "exported": lambda program: program.module(),
    "decomposed": lambda program: program.run_decompositions().module(),
}


def parts(module: nn.Module) -> list[GraphModule]:
    return [part for part in module.modules() if isinstance(part, GraphModule)]


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("case", MODELS)
def test_it_is_the_model_in_eval(case: str, stage: str) -> None:
    make, rest, without = MODELS[case]
    torch.manual_seed(1)
    net = make().train()
    module = STAGES[stage](torch.export.export(net, (X, *rest)))
    wanted = net.eval()(X) if without is None else without(net, X)
    assert not torch.allclose(module(X, *rest), wanted)

    assert remove_drops(module) is module
    assert torch.equal(module(X, *rest), wanted)
    for part in parts(module):
        part.graph.lint()
        assert not [n for n in part.graph.nodes if "mapdrop" in str(n.target)]


@pytest.mark.parametrize("case", MODELS)
def test_nothing_is_left_of_seeds_and_of_writing_in_place(case: str) -> None:
    make, rest, _ = MODELS[case]
    module = remove_drops(torch.export.export(make().train(), (X, *rest)).module())
    for part in parts(module):
        unused = [n for n in part.graph.nodes if not n.users and n.op == "call_function"]
        assert [n for n in unused if "add_" not in n.name] == []  # The buffer counts on.
        assert not [n for n in part.graph.nodes if n.name.startswith("copy")]


def test_a_counter_of_the_model_counts_on() -> None:
    module = remove_drops(torch.export.export(Counted().train(), (X,)).module())
    before = module.get_buffer("step").item()
    module(X)
    assert module.get_buffer("step").item() == before + 1


def test_a_model_without_drops_stays_as_it_is() -> None:
    module = torch.export.export(nn.Sequential(nn.Dropout(RATE), nn.Tanh()).train(), (X,)).module()
    code = module.code
    assert remove_drops(module).code == code


def test_what_cannot_be_done_is_an_error() -> None:
    with pytest.raises(TypeError, match=r"not Branches: an exported program has program\.module"):
        remove_drops(Branches())  # type: ignore[arg-type]
    program = torch.export.export(Residual(balance="b").train(), (X,))
    with pytest.raises(TypeError, match="not ExportedProgram"):
        remove_drops(program)  # type: ignore[arg-type]
    module = program.module()
    code = module.code
    with pytest.raises(ValueError, match=r"known number of kept samples.*export the model in eval"):
        remove_drops(module)
    assert module.code == code
