"""Each stage's result is frozen: a graph is analysed once, and lowered as often as one likes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import FrozenInstanceError, dataclass, fields, is_dataclass
from inspect import isabstract
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everyone knows it by

from mapdrop.torch import Drop
from mapdrop.torch.compact import Costs
from mapdrop.torch.compact.choose import Choice, Decision, choose
from mapdrop.torch.compact.cost_model import Workload
from mapdrop.torch.compact.packing.storage import Storage
from mapdrop.torch.compact.schedule import Plan, Schedule, schedule
from mapdrop.torch.graph.analysis import Analysis, analyse
from mapdrop.torch.graph.branches import find_branches
from mapdrop.torch.graph.drops import MapDrop
from mapdrop.torch.graph.facts import Facts
from mapdrop.torch.graph.graph import Graph, Node
from mapdrop.torch.graph.program import Program, Step
from mapdrop.torch.graph.record import Record
from tests.torch.compact.agreement import ALWAYS, captured, pixels

NEVER = Costs(least=1.0)
IMAGE = pixels(3, 8, 6, 6)


class Branches(nn.Module):
    """Has steps of many kinds: masks of two laws, dense and packed calls, a list, an in-place function."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(8, 16, 3, padding=1), nn.Conv2d(24, 4, 1)
        self.branch = nn.Sequential(
            nn.Conv2d(8, 8, 3, padding=1),
            nn.ReLU(),
            Drop("b c h w -> b c", 0.5, exact="c"),
            nn.Conv2d(8, 8, 1),
        )
        self.norm, self.drop = nn.BatchNorm2d(8), nn.Dropout2d(0.5)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.drop(torch.relu(self.first(x))).chunk(2, 1)
        both = F.leaky_relu(left + right, inplace=True)
        joined = torch.cat([left, self.branch(self.norm(right)), both], 1)
        return self.last(self.drop(joined)).softmax(1)  # type: ignore[no-any-return]


@dataclass
class Captured:
    """A graph, its inputs, what it was made of when it was new, and its analysis."""

    graph: Graph
    inputs: tuple[Any, ...]
    new: list[Any]
    analysis: Analysis

    def lowered(self, costs: Costs = ALWAYS) -> Schedule:
        return Schedule.of(Plan(self.analysis, choose(self.analysis, costs), (), static=False))

    def run(self, made: Schedule) -> Tensor:
        torch.manual_seed(0)
        (output,) = made.run(self.inputs)
        assert isinstance(output, Tensor)
        return output.detach()


@pytest.fixture(scope="module")
def model() -> Captured:
    torch.manual_seed(0)
    ((graph, inputs),) = captured(Branches().double(), IMAGE)
    return Captured(graph, inputs, of_graph(graph), analyse(graph))


def steps(made: Schedule) -> list[Any]:
    """Return all of a program that can be compared: of what a step does, the code."""
    return [(s.slot, s.reads, s.frees, s.run.__code__) for s in made.program.steps]


def check_same(model: Captured, first: Schedule, second: Schedule) -> None:
    """Raise AssertionError if two programs differ, or what they follow from or return."""
    assert first.skips
    assert first.program is not second.program
    assert steps(first) == steps(second)
    assert first.storages == second.storages
    assert first.fused == second.fused
    assert torch.equal(model.run(first), model.run(second))


def test_an_analysis_lowered_twice_gives_one_program(model: Captured) -> None:
    first, second = model.lowered(), model.lowered()
    assert first.fused
    assert first.choice == second.choice
    check_same(model, first, second)


def test_what_ran_and_was_lowered_before_changes_nothing(model: Captured) -> None:
    first = model.lowered()
    before = model.run(first)
    dense = model.lowered(NEVER)
    assert not dense.skips
    assert not dense.fused
    torch.testing.assert_close(model.run(dense), before, rtol=1e-10, atol=1e-10)
    check_same(model, first, model.lowered())
    assert torch.equal(model.run(first), before)


@pytest.mark.parametrize("static", [False, True], ids=["any masks", "static shapes"])
def test_a_graph_analysed_twice_gives_one_program(model: Captured, static: bool) -> None:
    first, second = (schedule(model.graph, ALWAYS, static) for _ in range(2))
    assert first.analysis.needed == second.analysis.needed
    assert [*map(decided, first.choice.decisions)] == [*map(decided, second.choice.decisions)]
    check_same(model, first, second)


def decided(decision: Decision) -> tuple[Any, ...]:
    """Return a decision without the facts, which each analysis finds for itself."""
    return decision.node, decision.reads, decision.makes, decision.skip_reads, decision.skip_makes


def concrete(kind: type[Any]) -> Iterator[type[Any]]:
    for inner in kind.__subclasses__():
        yield from concrete(inner)
    if not isabstract(kind):
        yield kind


FROZEN: list[type[Any]] = [Graph, Node, Record, Analysis, *concrete(Facts)]
FROZEN += [Costs, Workload, Decision, Choice, Storage, Step, Program]


@pytest.mark.parametrize("kind", FROZEN)
def test_a_stage_refuses_to_be_changed(kind: type[Any]) -> None:
    assert is_dataclass(kind)
    made = object.__new__(kind)
    for name in [*(field.name for field in fields(kind)), "another"]:
        with pytest.raises(FrozenInstanceError):
            setattr(made, name, None)
        with pytest.raises(FrozenInstanceError):
            delattr(made, name)


def contents(value: Any) -> Any:
    """Return what a stage is made of, copied so that a later change of it shows."""
    if isinstance(value, Node):
        return id(value)
    if isinstance(value, Tensor):
        return id(value), value.shape, value.stride(), value.dtype, value.requires_grad
    if isinstance(value, Mapping):
        return [(contents(key), contents(part)) for key, part in value.items()]
    if isinstance(value, (tuple, list)):
        return type(value), [contents(part) for part in value]
    if isinstance(value, MapDrop):
        return type(value), contents(vars(value))
    if is_dataclass(value):
        return type(value), own_contents(value)
    return value


def own_contents(value: Any) -> list[Any]:
    return [contents(getattr(value, field.name)) for field in fields(value)]


def of_graph(graph: Graph) -> list[Any]:
    return [own_contents(graph), *map(own_contents, graph.nodes)]


def test_nothing_changes_graph_or_analysis(model: Captured) -> None:
    known = own_contents(model.analysis)
    for costs in (ALWAYS, Costs(), NEVER):
        made = model.lowered(costs)
        lowered = contents(made.choice), own_contents(made.program)
        output = model.run(made)
        assert not output.isnan().any()
        made.run(model.inputs)[0].sum().backward()
        assert (contents(made.choice), own_contents(made.program)) == lowered
    assert of_graph(model.graph) == model.new
    assert own_contents(model.analysis) == known


def test_a_change_inside_shows() -> None:
    node = Node(0, args=([1, 2],), kwargs={"dim": 1})
    graph = Graph((node,), ())
    analysis = Analysis(graph, {}, {}, find_branches(graph, ()))
    new, known = of_graph(graph), own_contents(analysis)
    node.args[0].append(3)
    assert of_graph(graph) != new
    node.args[0].pop()
    assert of_graph(graph) == new
    node.kwargs["dim"] = 2  # type: ignore[index]
    assert of_graph(graph) != new
    analysis.facts[node] = None  # type: ignore[index]
    assert own_contents(analysis) != known
