"""What is decided for the benchmark's networks is what decisions.txt says, operation by operation.

After a change that is meant, `python -m tests.torch.compact.test_decisions` writes the file anew.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.models import MODELS, Model
from mapdrop import kernels
from mapdrop.torch.compact import Costs
from mapdrop.torch.compact.choose import Decision
from mapdrop.torch.compact.schedule import Schedule, schedule
from mapdrop.torch.graph.graph import Graph
from tests.conftest import framework
from tests.torch.compact.agreement import ALWAYS, captured

pytestmark = pytest.mark.compiler

FILE = Path(__file__).with_name("decisions.txt")
ABOUT = """\
For each operation: the share of its input maps that it reads, the share of its output maps that it
makes, and whether it does the ReLU after it, too. A dot stands for all maps, and for no ReLU. There
are three columns: by the default costs, by those of a machine that is ten times slower in
arithmetic, and by costs for which skipping always pays."""
COSTS = (Costs(), Costs(flops=16e9, own=14.5e9, least=0), ALWAYS)


def _decide_as_with_kernels(patch: pytest.MonkeyPatch) -> None:
    """Let operations be done by mapdrop's own kernels where none compile, too: none is run."""
    sizes = SimpleNamespace(DEPTH=144, COPIES=2**18)
    patch.setattr(kernels, "for_convolution", lambda: sizes)


def _part(model: Model) -> str:
    """Return a model's part of the file: its name, and a line for each operation."""
    graphs = [graph for graph, _ in captured(model.make(), *model.inputs())]
    columns = [_column(graphs, costs) for costs in COSTS]
    width = max(len(name) for name, _ in columns[0])
    lines = [model.name]
    for cells in zip(*columns, strict=True):
        decisions = "   ".join(text for _, text in cells)
        lines.append(f"    {cells[0][0]:<{width}}   {decisions}".rstrip())
    return "\n".join(lines)


def _column(graphs: list[Graph], costs: Costs) -> list[tuple[str, str]]:
    """Return the name of each operation, and what is decided about it."""
    schedules = [schedule(graph, costs) for graph in graphs]
    return [(d.node.name, _decided(s, d)) for s in schedules for d in s.choice.decisions]


def _decided(made: Schedule, decision: Decision) -> str:
    reads = f"{decision.reads.density:.1%}" if decision.skip_reads else "."
    makes = f"{decision.makes.density:.1%}" if decision.skip_makes else "."
    fused = made.fused.intersection(made.analysis.graph.users[decision.node])
    return f"{reads:>5} {makes:>5} {'relu' if fused else '.':<4}"


def _parts() -> list[str]:
    return FILE.read_text().rstrip("\n").split("\n\n")[1:]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_decisions_are_those_of_the_file(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    if "MONAI" in model.source:
        framework("monai")
    _decide_as_with_kernels(monkeypatch)
    known = {part.partition("\n")[0]: part for part in _parts()}
    assert _part(model).splitlines() == known[model.name].splitlines()


def test_the_file_has_every_model_once() -> None:
    assert [part.partition("\n")[0] for part in _parts()] == [model.name for model in MODELS]


@pytest.mark.parametrize("column", range(len(COSTS)))
def test_the_file_has_decisions_of_each_kind(column: int) -> None:
    rows = [line.split()[1:] for part in _parts() for line in part.splitlines()[1:]]
    decisions = [row[3 * column :][:3] for row in rows]
    assert len({(reads == ".", makes == ".") for reads, makes, _ in decisions}) == 4
    assert {relu for _, _, relu in decisions} == {"relu", "."}


def test_every_column_is_another() -> None:
    rows = [line.split()[1:] for part in _parts() for line in part.splitlines()[1:]]
    columns = {tuple(tuple(row[3 * i :][:3]) for row in rows) for i in range(len(COSTS))}
    assert len(columns) == len(COSTS)


if __name__ == "__main__":
    with pytest.MonkeyPatch.context() as every:
        _decide_as_with_kernels(every)
        FILE.write_text("\n\n".join([ABOUT, *map(_part, MODELS)]) + "\n")
