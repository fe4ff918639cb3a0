"""What is skipped is what flips priced over the whole graph lead to, found in linear time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, field, replace
from math import fsum
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from torch import Tensor, nn

from mapdrop.torch.compact import Costs
from mapdrop.torch.compact.choose import Choice, choose
from mapdrop.torch.compact.cost_model import Workload
from mapdrop.torch.graph.analysis import Analysis, analyse
from mapdrop.torch.graph.facts import ChannelMixing, DropFacts, Flatten, Identity, Slice
from mapdrop.torch.graph.lattice import AllMaps
from tests.torch.compact.agreement import ALWAYS, graph_of
from tests.torch.compact.test_random_graphs import Program, inputs, programs

EXAMPLES = 100
_FREE_CALLS = Costs(call=0, own_call=0, weights=1e12, least=-1)
COSTS = {
    "as they are": Costs(least=0),
    "all pays": ALWAYS,
    "calls cost nothing": _FREE_CALLS,
    "copies cost much": replace(_FREE_CALLS, activations=2e8, margin=0.0),
    "own kernels are slow": replace(_FREE_CALLS, own=6e10, flops=1e11, margin=0.1),
    "arithmetic is slow": replace(_FREE_CALLS, own=8e8, flops=1e9, activations=5e9),
    "little is too little": replace(_FREE_CALLS, least=0.3),
}
VIEWS_OF_DENSE = (Identity, Flatten)
VIEWS = (Identity, Flatten, Slice, DropFacts)
"""What writes nothing: of packed arrays, which do not have what a drop drops, a drop too."""
Sides = set[tuple[Any, str]]


def flow_of(model: nn.Module, x: Tensor) -> tuple[Analysis, dict[Any, tuple[int, ...]]]:
    """Return the analysis of a model, and the shape of each node's result."""
    flow = analyse(graph_of(model, x))
    return flow, {node: node.shape for node in flow.needed}


class Oracle:
    """The rule in its plainest form: the whole graph is priced for each flip."""

    def __init__(self, flow: Analysis, shapes: dict[Any, tuple[int, ...]], costs: Costs) -> None:
        self.flow, self.shapes, self.costs = flow, shapes, costs

    def packed(self, on: Sides) -> set[Any]:
        """Return the packed nodes: what is used packed, and all neighbours, as far as it goes."""
        ops = self.flow.facts
        can = {node for node in ops if not isinstance(self.flow.needed[node], AllMaps)}
        found = {node if side == "makes" else ops[node].sources[0] for node, side in on} & can
        edges = [
            {node, source}
            for node in can
            for source in ops[node].sources
            if source in can and not isinstance(ops[node], ChannelMixing)
        ]
        grows = True
        while grows:
            more = {node for edge in edges if edge & found for node in edge} - found
            found, grows = found | more, bool(more)
        return {n for n in found if not isinstance(ops[n], ChannelMixing) or (n, "makes") in on}

    def prices(self, on: Sides) -> list[float]:
        """Return the seconds of everything in a step."""
        needed, packed, found = self.flow.needed, self.packed(on), []
        moved = set()
        for node, op in self.flow.facts.items():
            reads_packed = node in packed
            if isinstance(op, ChannelMixing):
                reads_packed, work = (node, "reads") in on, Workload.of(node, op, False)
                every = AllMaps(work.inputs), AllMaps(work.outputs)
                reads = needed[op.sources[0]] if reads_packed else every[0]
                makes = needed[node] if (node, "makes") in on else every[1]
                found.append(self.costs.seconds(work, reads, makes))
                if reads_packed or (node, "makes") in on:
                    found.append(self.costs.margin * self.costs.seconds(work, *every))
            elif not isinstance(op, VIEWS if node in packed else VIEWS_OF_DENSE):
                share = needed[node].density if node in packed else 1.0
                found.append(self.costs.copy_seconds(self.shapes[node], share))
            for source in op.sources:
                if reads_packed != (source in packed):
                    moved.add(source)  # Once, however many read it.
        for source in moved:
            share = needed[source].density
            found.append(self.costs.packing_seconds(self.shapes[source], share))
        return found

    def possible(self) -> list[tuple[Any, str]]:
        """Return the sides that can skip, in order."""
        return [
            (node, side)
            for node, op in self.flow.facts.items()
            if isinstance(op, ChannelMixing) and self.flow.drops
            for side, read in (("reads", op.sources[0]), ("makes", node))
            if not isinstance(self.flow.needed[read], AllMaps)
        ]

    def choose(self) -> tuple[Sides, bool]:
        """Return the sides that skip, and whether they would have, had it saved more."""
        dense, on = self.prices(set()), set(self.possible())
        total, before = self.prices(on), None
        while before != on:
            before = set(on)
            for flip in self.possible():
                other = self.prices(on ^ {flip})
                if fsum([*other, *(-seconds for seconds in total)]) < 0:
                    on, total = on ^ {flip}, other
        saved = fsum(dense) - fsum(total)
        if saved < self.costs.least * fsum(dense):
            return set(), saved > 0
        return on, False


def skipping(choice: Choice) -> Sides:
    """Return the sides that skip."""
    reads = {(d.node, "reads") for d in choice.decisions if d.skip_reads}
    return reads | {(d.node, "makes") for d in choice.decisions if d.skip_makes}


def check(model: nn.Module, x: Tensor, count: Counter[str]) -> None:
    """Raise AssertionError if a choice is not the oracle's. Count the sides that skip or do not."""
    flow, shapes = flow_of(model, x)
    for costs in COSTS.values():
        oracle, choice = Oracle(flow, shapes, costs), choose(flow, costs)
        on, too_little = oracle.choose()
        assert skipping(choice) == on
        assert choice.packed == oracle.packed(on)
        assert choice.reads_packed == {node for node, side in on if side == "reads"}
        assert choice.saves_too_little == too_little
        possible = len(oracle.possible())
        count.update(on=len(on), off=possible - len(on), too_little=too_little)
        count["both"] += 0 < len(on) < possible


def chain(length: int, *widths: int) -> nn.Module:
    """Return convolutions of these widths, again and again, with drops between."""
    layers: list[nn.Module] = []
    for i in range(length):
        before, width = (widths[n % len(widths)] for n in (i, i + 1))
        layers += [nn.Conv2d(before, width, 3, 1, 1), nn.Dropout2d(0.5), nn.ReLU()]
    return nn.Sequential(*layers[:-2])


class Residual(nn.Module):
    """Blocks whose results are added to what they read, and dropped: one group of all."""

    def __init__(self, blocks: int, width: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Conv2d(width, width, 3, 1, 1) for _ in range(blocks))
        self.drops = nn.ModuleList(nn.Dropout2d(0.5) for _ in range(blocks))

    def forward(self, x: Tensor) -> Tensor:
        for block, drop in zip(self.blocks, self.drops, strict=True):
            x = drop(x + block(x))
        return x


class Dense(nn.Module):
    """Blocks that read all results before them, some of which are dropped."""

    def __init__(self, blocks: int, width: int) -> None:
        super().__init__()
        wide = (width * (i + 1) for i in range(blocks))
        self.blocks = nn.ModuleList(nn.Conv2d(n, width, 3, 1, 1) for n in wide)
        self.drop = nn.Dropout2d(0.5)

    def forward(self, x: Tensor) -> Tensor:
        for i, block in enumerate(self.blocks):
            x = torch.cat([x, self.drop(block(x)) if i % 2 else torch.relu(block(x))], 1)
        return x


class Star(nn.Module):
    """A drop and a row of ReLUs, each read by a convolution: a group that many use."""

    def __init__(self, readers: int, width: int) -> None:
        super().__init__()
        self.drop = nn.Dropout2d(0.5)
        self.readers = nn.ModuleList(nn.Conv2d(width, 4, 1) for _ in range(readers))

    def forward(self, x: Tensor) -> list[Tensor]:
        x, read = self.drop(x), []
        for reader in self.readers:
            x = torch.relu(x)
            read.append(reader(x))
        return read


MODELS: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "chain": (lambda: chain(8, 16), torch.zeros(4, 16, 8, 8)),
    "chain of two widths": (lambda: chain(9, 4, 48, 24), torch.zeros(4, 4, 8, 8)),
    "residual": (lambda: Residual(6, 24), torch.zeros(4, 24, 8, 8)),
    "concatenations": (lambda: Dense(6, 12), torch.zeros(4, 12, 8, 8)),
    "star": (lambda: Star(5, 32), torch.zeros(4, 32, 8, 8)),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_skips_what_the_oracle_does(name: str) -> None:
    make, x = MODELS[name]
    count: Counter[str] = Counter()
    check(make(), x, count)
    assert count["on"] > 0, count
    assert count["off"] > 0, count


def test_random_graphs_skip_what_the_oracle_does() -> None:
    count: Counter[str] = Counter()

    @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
    @given(programs())
    def check_all(program: Program) -> None:
        check(program.build(), inputs(program), count)
        count["graphs"] += 1

    check_all()
    assert count["graphs"] >= EXAMPLES, count
    assert count["both"] >= 0.5 * EXAMPLES, count
    assert count["too_little"] > 0, count


@dataclass(frozen=True)
class Counted(Costs):
    """Costs that count how often they are asked."""

    asked: Counter[str] = field(default_factory=Counter)

    def seconds(self, *args: Any) -> float:
        self.asked["convolutions"] += 1
        return super().seconds(*args)

    def copy_seconds(self, *args: Any) -> float:
        self.asked["copies"] += 1
        return super().copy_seconds(*args)


GROWING: dict[str, Callable[[int], nn.Module]] = {
    "chain": lambda n: chain(n, 16),
    "residual": lambda n: Residual(n, 16),
}


@pytest.mark.parametrize("costs", COSTS.values(), ids=COSTS)
@pytest.mark.parametrize("make", GROWING.values(), ids=GROWING)
def test_the_search_takes_linear_time(make: Callable[[int], nn.Module], costs: Costs) -> None:
    asked = []
    for length in (40, 160):
        flow, _ = flow_of(make(length), torch.zeros(2, 16, 4, 4))
        counted = Counted(**vars(costs))
        choose(flow, counted)
        asked.append(counted.asked)
    assert asked[1].total() <= 4.4 * asked[0].total(), asked


@pytest.mark.parametrize("name", MODELS)
def test_nothing_passed_in_is_changed(name: str) -> None:
    make, x = MODELS[name]
    flow, _ = flow_of(make(), x)
    before = [flow.graph.nodes, flow.graph.outputs, dict(flow.facts), dict(flow.needed)]
    first, second = choose(flow, _FREE_CALLS), choose(flow, _FREE_CALLS)
    assert first == second
    assert [flow.graph.nodes, flow.graph.outputs, flow.facts, flow.needed] == before


def test_a_choice_is_frozen() -> None:
    flow, _ = flow_of(chain(3, 16), torch.zeros(4, 16, 8, 8))
    choice = choose(flow, ALWAYS)
    hash(choice)
    with pytest.raises(FrozenInstanceError):
        choice.saves_too_little = True  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        choice.decisions[0].skip_reads = True  # type: ignore[misc]
