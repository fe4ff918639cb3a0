"""Random residual models, written as source code, train the same, compact or not."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import HealthCheck, given, settings

from tests.torch.compact.residual_programs import MEETING, ON_MAPS, ON_TOKENS, Program, programs
from tests.torch.compact.residual_work import branches
from tests.torch.compact.training_step import check_same, check_step, step

pytestmark = pytest.mark.training

EXAMPLES = 100


def test_drawn_residual_models_train_like_the_models() -> None:
    @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
    @given(programs())
    def check(program: Program) -> None:
        check_same(program.build, program.inputs())

    check()


def test_drawn_residual_models_skip() -> None:
    counts = SimpleNamespace(all=0, alone=0, skipping=0)

    @settings(max_examples=EXAMPLES // 4, suppress_health_check=list(HealthCheck))
    @given(programs())
    def check(program: Program) -> None:
        fast = check_same(program.build, program.inputs(), seeds=(0,))
        counts.all += 1
        counts.alone += not program.meets
        counts.skipping += not program.meets and all(b.operations > 0 for b in branches(fast))

    check()
    assert counts.alone >= 0.3 * counts.all, counts
    assert counts.skipping >= 0.8 * counts.alone, counts


def one_operation(form: str, shape: str) -> Program:
    """Return a program whose only branch is one operation between two that skip."""
    program = Program(4, ["nn.Linear(8, 8)", "nn.Conv2d(8, 8, 3, padding=1)"])
    program.layers += ["DROPS['timm'](0.5)", "md.Dropout(0.3)", "md.SpatialDropout2d(0.5)"]
    for layer, name in (("md.Dropout(0.3)", "self.l3"), ("md.SpatialDropout2d(0.5)", "self.l4")):
        form = form.replace(layer, name)
    program.lines = [
        f"x1 = torch.tanh(x0){'.mT.reshape(-1, 8, 4, 4)' if shape == 'maps' else ''}",
        f"x2 = {form.format(x='x1', c=8, n=16, l='self.l0', k='self.l1')}",
        f"x3 = torch.tanh(x2){'.flatten(2).mT' if shape == 'maps' else ''}",
        "return x0 + self.l2(x3)",
    ]
    return program


@pytest.mark.parametrize("form", ON_TOKENS)
def test_each_operation_on_tokens(form: str) -> None:
    program = one_operation(form, "tokens")
    check_same(program.build, program.inputs(), seeds=range(3))


@pytest.mark.parametrize("form", ON_MAPS)
def test_each_operation_on_maps(form: str) -> None:
    program = one_operation(form, "maps")
    check_same(program.build, program.inputs(), seeds=range(3))


@pytest.mark.parametrize("form", MEETING)
def test_each_operation_in_which_samples_meet(form: str) -> None:
    program = one_operation(form, "tokens")
    check_same(program.build, program.inputs(), seeds=range(3))


@pytest.mark.parametrize("form", MEETING)
def test_samples_do_meet(form: str) -> None:
    """The operation of some samples is not some samples of the operation."""
    net = one_operation(form, "tokens").build()
    net.get_submodule("l2").eval()
    x, condition = one_operation(form, "tokens").inputs()
    rows = torch.tensor([1, 3])
    assert not torch.allclose(net(x, condition)[rows], net(x[rows], condition[rows]))


def test_the_comparison_sees_another_mask_and_another_weight() -> None:
    program = one_operation("{l}({x})", "tokens")
    x = program.inputs()
    check_same(program.build, x)
    with pytest.raises(AssertionError, match="output"):
        check_step(step(program.build(), x, 0), step(program.build(), x, 1))
    nudged = program.build()
    with torch.no_grad():
        nudged.get_parameter("l0.weight").view(-1)[0] += 1e-6
    with pytest.raises(AssertionError, match="apart"):
        check_step(step(nudged, x), step(program.build(), x))
