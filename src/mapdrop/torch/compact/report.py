"""What a planned model skips, operation by operation, as a table for people."""

from __future__ import annotations

from dataclasses import dataclass

from torch import fx

from mapdrop.torch.compact.cost_model import Operation
from mapdrop.torch.compact.dataflow import Analysis
from mapdrop.torch.compact.lattice import Maps, Whole
from mapdrop.torch.compact.lowering import Schedule
from mapdrop.torch.compact.profile import measure


@dataclass(frozen=True)
class Line:
    """One convolution or Linear.

    Attributes:
        name: in the model.
        reads, makes: expected share of its input and output maps that are read and computed.
        whole, chosen: predicted seconds a training step, with nothing skipped and as planned.
        measured: the same two by the clock, where that was asked for and something is skipped.
        reason: why it is left whole, and what would change it; empty where something is skipped.
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
    """The lines of a model, and why the model as a whole could not be planned, if so."""

    lines: tuple[Line, ...]
    reason: str = ""

    @property
    def saving(self) -> float:
        """Predicted share of the operations' time that is saved, from 0 to 1."""
        whole = sum(line.whole for line in self.lines)
        return 1 - sum(line.chosen for line in self.lines) / whole if whole else 0.0

    @property
    def measured_saving(self) -> float | None:
        """The same by the clock, of the operations that skip; None where nothing was measured."""
        pairs = [line.measured for line in self.lines if line.measured is not None]
        return 1 - sum(p for _, p in pairs) / sum(w for w, _ in pairs) if pairs else None

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
        return "\n".join(text)


def _cells(line: Line, measured: bool) -> list[str]:
    shares = [f"{line.reads:.0%}", f"{line.makes:.0%}"]
    times = [line.whole, line.chosen, *((line.measured or (None, None)) if measured else ())]
    shown = ["" if seconds is None else f"{seconds * 1e3:.2f}" for seconds in times]
    return [line.name, *shares, *shown, line.reason]


def _aligned(rows: list[list[str]]) -> list[str]:
    """Names to the left, numbers to the right, reasons last."""
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
    """Of a schedule; with `measured`, operations that skip are timed."""
    return Report(
        tuple(
            _line(o, schedule, measure(schedule, o) if measured else None)
            for o in schedule.choice.operations
        )
    )


def _line(operation: Operation, schedule: Schedule, measured: tuple[float, float] | None) -> Line:
    analysis, costs = schedule.analysis, schedule.choice.costs
    skips = operation.skip_reads or operation.skip_makes
    return Line(
        analysis.sites[operation.node].name,
        _share(operation.reads, operation.skip_reads),
        _share(operation.makes, operation.skip_makes),
        operation.whole(costs),
        operation.seconds(costs),
        measured,
        "" if skips else _reason(operation, schedule),
    )


def _share(maps: Maps, skipped: bool) -> float:
    return maps.density if skipped else 1.0


def _reason(operation: Operation, schedule: Schedule) -> str:
    analysis, choice = schedule.analysis, schedule.choice
    if type(operation.reads) is not Whole or type(operation.makes) is not Whole:
        if choice.too_little:
            share = f"{choice.costs.least:.0%}"
            return f"skipping, here and elsewhere, would save less than {share} of the model's step"
        return "skipping would save less than it costs: too few or too small maps, or a small p"
    before = _obstacle(operation.rule.reads[0], analysis, up=True)
    after = _obstacle(operation.node, analysis, up=False)
    return " ".join(filter(None, (before, after))) or "no drop of whole maps next to it"


def _obstacle(node: fx.Node, analysis: Analysis, up: bool) -> str:
    """What lies between the operation and a drop, the first operation that needs whole arrays."""
    seen: list[fx.Node] = [node] if up else list(node.users)
    for _ in range(16):
        if len(seen) != 1:
            return ""
        at = seen[0]
        site, rule = analysis.sites[at], analysis.rules.get(at)
        kind = type(site.module).__name__ if site.module is not None else str(at.target)
        if rule is None:
            if at.op in ("placeholder", "output", "get_attr") or not _drops_beyond(
                at, analysis, up
            ):
                return ""
            where = "put the dropout after it" if up else "put the dropout before it"
            return f"{kind} {site.name!r} reads every map: {where}."
        if rule.why:
            return f"{rule.why}."
        seen = list(rule.reads[:1]) if up else list(at.users)
    return ""


def _drops_beyond(node: fx.Node, analysis: Analysis, up: bool) -> bool:
    drops = {n for n, rule in analysis.rules.items() if hasattr(rule, "drop")}
    ahead, seen = [node], set()
    while ahead:
        at = ahead.pop()
        if at in seen:
            continue
        seen.add(at)
        ahead += list(at.all_input_nodes if up else at.users)
    return bool(drops & seen)
