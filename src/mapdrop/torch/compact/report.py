"""The report: what a compact model skips, operation by operation, as a table."""

from __future__ import annotations

from dataclasses import dataclass

from mapdrop.torch.compact.choose import Decision
from mapdrop.torch.compact.choose_samples import BranchChoice
from mapdrop.torch.compact.counted import counted
from mapdrop.torch.compact.packed.registry import PACKED
from mapdrop.torch.compact.profile import profile
from mapdrop.torch.compact.schedule import Schedule
from mapdrop.torch.graph.analysis import Analysis
from mapdrop.torch.graph.facts import DropFacts
from mapdrop.torch.graph.graph import Node
from mapdrop.torch.graph.lattice import AllMaps, MapSet
from mapdrop.torch.graph.registry import may_draw

_FARTHEST = 16  # Operations between a convolution and a drop that are looked at for a reason.


@dataclass(frozen=True)
class Line:
    """One convolution or Linear.

    Attributes:
        name: of the layer in the model.
        reads, makes: the expected share of its input maps that it reads, and of its output maps
            that it computes.
        whole, chosen: the predicted seconds per training step with nothing skipped, and as chosen.
        measured: the same two, timed, if the report was to measure and something is skipped.
        reason: why nothing is skipped, and what would change that; empty if something is.
    """

    name: str
    reads: float
    makes: float
    whole: float
    chosen: float
    measured: tuple[float, float] | None
    reason: str


@dataclass(frozen=True)
class Branch:
    """One drop of whole samples, and the residual branch before it.

    Attributes:
        name: of the drop in the model.
        rate: the expected share of samples that it drops, from 0 to 1.
        operations: how many operations run for the kept samples only.
        reason: why none does, and what would change that; empty if some do.
        notes: what runs for all samples all the same, and what draws other random numbers.
    """

    name: str
    rate: float
    operations: int
    reason: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """What is skipped, or the reason why the model is not compact at all.

    Attributes:
        lines: one for each convolution and Linear: the maps that it skips.
        reason: why nothing is skipped; empty if something may be.
        notes: what runs as it is.
        branches: one for each drop of whole samples: what runs for the kept samples only.
        products, done: the multiplications of a forward in convolutions, Linear layers, matrix
            products and attention, and how many of them are expected to be done.
    """

    lines: tuple[Line, ...]
    reason: str = ""
    notes: tuple[str, ...] = ()
    branches: tuple[Branch, ...] = ()
    products: int = 0
    done: float = 0.0

    @property
    def skipped(self) -> float:
        """Return the expected share of the multiplications that is skipped, from 0 to 1."""
        return 1 - self.done / self.products if self.products else 0.0

    @property
    def saving(self) -> float:
        """Return the predicted share of the operations' time that is saved, from 0 to 1."""
        dense = sum(line.whole for line in self.lines)
        return 1 - sum(line.chosen for line in self.lines) / dense if dense else 0.0

    @property
    def measured_saving(self) -> float | None:
        """Return the timed share, of the operations that skip; None if nothing was timed."""
        pairs = [line.measured for line in self.lines if line.measured is not None]
        if not pairs:
            return None
        return 1 - sum(chosen for _, chosen in pairs) / sum(dense for dense, _ in pairs)

    def __str__(self) -> str:
        if self.reason:
            return f"nothing is skipped: {self.reason}"
        measured = self.measured_saving
        rows = [_cells(line, measured is not None) for line in self.lines]
        names = ["operation", "reads", "makes", "dense ms", "predicted ms"]
        names += ["dense ms, measured", "measured ms"] if measured is not None else []
        text = _branch_text(self.branches)
        if self.branches and not any(line.reads < 1 or line.makes < 1 for line in self.lines):
            return "\n".join(text)
        text += _aligned([[*names, "why it is whole"], *rows])
        text.append(f"predicted saving in these operations: {self.saving:.0%}")
        if measured is not None:
            text.append(f"measured saving in those that skip: {measured:.0%}")
        text += [f"a part runs as it is: {note}" for note in self.notes]
        return "\n".join(text)


def _branch_text(branches: tuple[Branch, ...]) -> list[str]:
    if not branches:
        return []
    rows = [[b.name, f"{b.rate:.0%}", str(b.operations), b.reason] for b in branches]
    names = ["residual branch before", "dropped", "operations for the kept", "why it is whole"]
    notes = dict.fromkeys(note for branch in branches for note in branch.notes)
    return [*_aligned([names, *rows]), *notes]


def _cells(line: Line, measured: bool) -> list[str]:
    shares = [f"{line.reads:.0%}", f"{line.makes:.0%}"]
    times = [line.whole, line.chosen, *((line.measured or (None, None)) if measured else ())]
    shown = ["" if seconds is None else f"{seconds * 1e3:.2f}" for seconds in times]
    return [line.name, *shares, *shown, line.reason]


def _aligned(rows: list[list[str]]) -> list[str]:
    """Align names to the left and numbers to the right, with reasons last."""
    widths = [max(map(len, column)) for column in list(zip(*rows, strict=True))[:-1]]
    return [
        "  ".join(
            [
                name.ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(numbers, widths[1:], strict=True)),
                reason,
            ]
        ).rstrip()
        for name, *numbers, reason in rows
    ]


def report(schedule: Schedule, measured: bool = False) -> Report:
    """Return the report of a schedule; with `measured`, operations that skip are timed."""
    products, done = counted(schedule)
    return Report(
        tuple(
            _line(decision, schedule, profile(schedule, decision) if measured else None)
            for decision in schedule.choice.decisions
        ),
        branches=tuple(_branch(choice, schedule.analysis) for choice in schedule.branches),
        products=products,
        done=done,
    )


def _branch(choice: BranchChoice, analysis: Analysis) -> Branch:
    drop, branches = choice.drop, analysis.branches
    name, rate = drop.node.name, 1 - drop.kept
    if choice.reason:
        return Branch(name, rate, 0, choice.reason)
    nodes = branches.nodes[drop]
    whole = [n for n, samples in branches.obstacles.items() if drop.number in samples.drops]
    random = [n for n in nodes if may_draw(n, n in analysis.facts)]
    notes = [f"{_titled(n)} may mix samples: it runs for all, with what leads to it" for n in whole]
    notes += [
        f"{_titled(n)} draws fewer random numbers for fewer samples: its bits differ from the "
        "model's own, its law does not; mapdrop's layers keep their bits"
        for n in random
    ]
    return Branch(name, rate, len(nodes), "", tuple(notes))


def _titled(node: Node) -> str:
    return f"{node.layer or node.operation} {node.name!r}"


def _line(decision: Decision, schedule: Schedule, measured: tuple[float, float] | None) -> Line:
    costs = schedule.choice.costs
    return Line(
        decision.node.name,
        decision.reads.density if decision.skip_reads else 1.0,
        decision.makes.density if decision.skip_makes else 1.0,
        decision.dense_seconds(costs),
        decision.seconds(costs),
        measured,
        "" if decision.skips else _reason(decision, schedule),
    )


def _reason(decision: Decision, schedule: Schedule) -> str:
    choice = schedule.choice
    if not (_is_all(decision.reads) and _is_all(decision.makes)):
        if choice.saves_too_little:
            share = f"{choice.costs.least:.0%}"
            return f"skipping, here and elsewhere, would save less than {share} of the model's step"
        return "skipping would save less than it costs: too few or too small maps, or a small p"
    before = _obstacle(decision.facts.sources[0], schedule.analysis, up=True)
    after = _obstacle(decision.node, schedule.analysis, up=False)
    return " ".join(filter(None, (before, after))) or "no drop of whole maps next to it"


def _is_all(maps: MapSet) -> bool:
    return isinstance(maps, AllMaps)


def _obstacle(node: Node, analysis: Analysis, up: bool) -> str:
    """Say which operation between a convolution and a drop needs dense arrays; "" if none does."""
    users = analysis.graph.users
    neighbours: list[Node] = [node] if up else list(users[node])
    for _ in range(_FARTHEST):
        if len(neighbours) != 1:
            return ""
        (at,) = neighbours
        facts = analysis.facts.get(at)
        if facts is None:
            if at.target is None or not _has_drop(at, analysis, up):
                return ""
            advice = "put the dropout after it" if up else "put the dropout before it"
            return f"{_titled(at)} reads every map: {advice}."
        reason = PACKED[type(facts)].reason
        if reason:
            return f"{reason}."
        neighbours = list(facts.sources[:1]) if up else list(users[at])
    return ""


def _has_drop(node: Node, analysis: Analysis, up: bool) -> bool:
    """Return whether there is a drop anywhere before a node (`up`) or after it."""
    ahead, seen = [node], set()
    while ahead:
        at = ahead.pop()
        if at not in seen:
            seen.add(at)
            ahead += at.inputs if up else analysis.graph.users[at]
    return any(isinstance(analysis.facts.get(at), DropFacts) for at in seen)
