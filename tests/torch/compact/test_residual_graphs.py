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
    """Of branches in which samples do not meet most skip, but for those that have too little."""
    counts = SimpleNamespace(branches=0, skipping=0, small=0)

    @settings(max_examples=EXAMPLES // 2, suppress_health_check=list(HealthCheck))
    @given(programs().filter(lambda program: program.samples > 1 and not program.meets))
    def check(program: Program) -> None:
        fast = check_same(program.build, program.inputs(), seeds=(0,))
        for branch in branches(fast):
            assert (branch.operations > 0) == (branch.reason == "")
            counts.branches += 1
            counts.skipping += branch.operations > 0
            counts.small += "save less than it costs" in branch.reason

    check()
    assert counts.skipping >= 0.4 * counts.branches, counts
    assert counts.skipping + counts.small >= 0.85 * counts.branches, counts


@pytest.mark.parametrize(
    "form",
    [
        "self.l4(self.l5({x}))",
        "self.l5(self.l4({x}))",
        "self.l4(self.l6(self.l5({x})))",
        "F.avg_pool2d(self.l4(self.l5({x})), 3, 1, 1)",
    ],
)
@pytest.mark.parametrize("samples", [1, 4])
def test_maps_dropped_in_a_branch_inside_another(form: str, samples: int) -> None:
    """Of the samples that both branches keep, if any, some maps are dropped, or all."""
    program = Program(samples, ["DROPS['timm'](0.5)", "nn.Linear(8, 8)", "nn.Linear(8, 8)"])
    program.layers += ["DROPS['transformers'](0.5)", "md.SpatialDropout2d(0.5)"]
    program.layers += [f"nn.Conv2d(8, 8, 3, padding=1, groups={n})" for n in (1, 8)]
    program.lines = [
        "x1 = self.l2(self.l1(x0))",
        "x2 = x1.transpose(1, 2).reshape(-1, 8, 4, 4)",
        f"x3 = {form.format(x='x2')}.permute(0, 2, 3, 1).flatten(1, 2)",
        "return x0 + self.l0(x1 + self.l3(x3))",
    ]
    check_same(program.build, program.inputs(), seeds=range(8))


@pytest.mark.parametrize("end", ["flatten(2).mT", "permute(0, 2, 3, 1).flatten(1, 2)"])
def test_an_instance_norm_of_one_kept_sample(end: str) -> None:
    """PyTorch's own gradient of one sample alone is wrong if its features are last in memory."""
    program = Program(4, ["DROPS['timm'](0.5)", "nn.Linear(8, 8)"])
    program.lines = [
        "x1 = self.l1(x0).transpose(1, 2).reshape(-1, 8, 4, 4)",
        f"return x0 + self.l0(F.instance_norm(x1).{end})",
    ]
    check_same(program.build, program.inputs(), seeds=range(8))


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
