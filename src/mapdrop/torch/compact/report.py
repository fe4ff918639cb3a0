"""What a planned model skips, operation by operation, as a table for people."""

from __future__ import annotations

from dataclasses import dataclass

from torch import fx

from mapdrop.torch.compact.cost import Costs, Operation
from mapdrop.torch.compact.planner import Analysis, Schedule
from mapdrop.torch.compact.sets import Maps, Whole


@dataclass(frozen=True)
class Line:
    """One convolution or Linear.

    Attributes:
        name: in the model.
        reads, makes: expected share of its input and output maps that are read and computed.
        whole, chosen: predicted seconds a training step, with nothing skipped and as planned.
        reason: why it is left whole, and what would change it; empty where something is skipped.
    """

    name: str
    reads: float
    makes: float
    whole: float
    chosen: float
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

    def __str__(self) -> str:
        if self.reason:
            return f"nothing is skipped: {self.reason}"
        rows = [("operation", "reads", "makes", "dense ms", "predicted ms", "why it is whole")]
        rows += [
            (
                line.name,
                f"{line.reads:.0%}",
                f"{line.makes:.0%}",
                f"{line.whole * 1e3:.2f}",
                f"{line.chosen * 1e3:.2f}",
                line.reason,
            )
            for line in self.lines
        ]
        widths = [max(len(row[i]) for row in rows) for i in range(5)]
        text = [
            "  ".join(
                [
                    row[0].ljust(widths[0]),
                    *(c.rjust(w) for c, w in zip(row[1:5], widths[1:], strict=True)),
                    row[5],
                ]
            ).rstrip()
            for row in rows
        ]
        return "\n".join([*text, f"predicted saving in these operations: {self.saving:.0%}"])


def report(schedule: Schedule) -> Report:
    """Of a schedule."""
    analysis, costs = schedule.analysis, schedule.choice.costs
    return Report(
        tuple(_line(operation, analysis, costs) for operation in schedule.choice.operations)
    )


def _line(operation: Operation, analysis: Analysis, costs: Costs) -> Line:
    skips = operation.skip_reads or operation.skip_makes
    return Line(
        analysis.sites[operation.node].name,
        _share(operation.reads, operation.skip_reads),
        _share(operation.makes, operation.skip_makes),
        operation.whole(costs),
        operation.seconds(costs),
        "" if skips else _reason(operation, analysis),
    )


def _share(maps: Maps, skipped: bool) -> float:
    return maps.density if skipped else 1.0


def _reason(operation: Operation, analysis: Analysis) -> str:
    if type(operation.reads) is not Whole or type(operation.makes) is not Whole:
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
