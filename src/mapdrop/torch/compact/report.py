"""The report: what a compact model skips, operation by operation, as a table."""

from __future__ import annotations

from dataclasses import dataclass

from mapdrop.torch.compact.choose import Decision
from mapdrop.torch.compact.lower import Schedule
from mapdrop.torch.compact.packed.registry import PACKED
from mapdrop.torch.compact.profile import profile
from mapdrop.torch.graph.analysis import Analysis
from mapdrop.torch.graph.facts import DropFacts
from mapdrop.torch.graph.graph import Node
from mapdrop.torch.graph.lattice import AllMaps, MapSet

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
class Report:
    """A line for each convolution and Linear, or the reason why the model is not compact at all."""

    lines: tuple[Line, ...]
    reason: str = ""
    notes: tuple[str, ...] = ()

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
        text = _aligned([[*names, "why it is whole"], *rows])
        text.append(f"predicted saving in these operations: {self.saving:.0%}")
        if measured is not None:
            text.append(f"measured saving in those that skip: {measured:.0%}")
        text += [f"a part runs as it is: {note}" for note in self.notes]
        return "\n".join(text)


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
    return Report(
        tuple(
            _line(decision, schedule, profile(schedule, decision) if measured else None)
            for decision in schedule.choice.decisions
        )
    )


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
            return f"{at.layer or at.operation} {at.name!r} reads every map: {advice}."
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
