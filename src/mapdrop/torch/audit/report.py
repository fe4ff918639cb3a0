"""The report of an audit: which dropout stands where, and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass

from mapdrop.torch.compact.report import Report

_MANY = 4  # Places of one finding that are printed in full.


@dataclass(frozen=True)
class AuditedDrop:
    """A drop that a training step runs.

    Attributes:
        name: of the layer that drops, or of the layer whose code does.
        kind: the class of the drop layer, or the name of the function or operation.
        functional: whether the model's code drops by a function or operation, not by a layer.
        where: the line of the model's code, "file.py:12"; "" if only PyTorch's code calls it.
        p: the rate that it is called with, from 0 to 1; None if that is unknown.
        rate: the share of values that its masks dropped when they were drawn again, from 0 to 1.
        shape, dtype: of the array that it drops from.
        axes: the axes of this array along which values have coins of their own: (0, 1) for maps.
        calls: how often it runs in a step, with the same shape at the same place.
        share: the share of the time of a training step that these calls take, from 0 on. Each is
            timed alone: drawing the mask, the product, and the product of the gradient. None if no
            step was timed.
    """

    name: str
    kind: str
    functional: bool
    where: str
    p: float | None
    rate: float
    shape: tuple[int, ...]
    dtype: str
    axes: tuple[int, ...]
    calls: int
    share: float | None

    @property
    def unit(self) -> str:
        """What has a coin of its own, in words."""
        wide = [axis for axis, size in enumerate(self.shape) if size > 1]
        if list(self.axes) == wide:
            return "values"
        named = {(): "the batch", (0,): "samples", (1,): "maps", (0, 1): "maps"}
        return named.get(self.axes, "axes " + ", ".join(map(str, self.axes)))


@dataclass(frozen=True)
class Finding:
    """Something about a drop.

    Attributes:
        check: the name of the check that found it.
        where: the line of the model's code; "" if that is unknown.
        name: of the drop, as `AuditedDrop.name`; "" if it is about all of them.
        problem: what is the matter, in a sentence.
        remedy: what to do, in a sentence.
    """

    check: str
    where: str
    name: str
    problem: str
    remedy: str

    @property
    def place(self) -> str:
        """The line and the name, as far as they are known."""
        return " ".join(filter(None, (self.where, f"({self.name})" if self.name else "")))

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.check, self.place, f"{self.problem} {self.remedy}")))


@dataclass(frozen=True)
class BetterPlace:
    """A place where `mapdrop.torch.compact` would skip more.

    Attributes:
        names: of the drops that move there together: those that one call in the code makes.
        where: the line of the model's code where they stand; "" if that is unknown.
        behind: what each would stand behind.
        here, there: the expected share of all multiplications that is skipped, from 0 to 1, with
            these drops where they stand, and behind that.
    """

    names: tuple[str, ...]
    where: str
    behind: str
    here: float
    there: float

    def notes(self) -> tuple[Finding, ...]:
        """Say it, of each drop."""
        they = "it" if len(self.names) == 1 else f"these {len(self.names)}"
        problem = (
            f"compact skips {self.here:.0%} of the step's multiplications with {they} here, and "
            f"{self.there:.0%} with {they} behind {self.behind}."
        )
        remedy = "The model would be trained in another way: move it only if that is as good."
        return tuple(
            Finding("another place", self.where, name, problem, remedy) for name in self.names
        )


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        drops: what a training step drops, in the order of the calls.
        findings: what is wrong.
        notes: what is worth knowing and may be meant.
        unseen: what could not be looked at, and why.
        step_seconds: the time of a training step, forward and backward, without an optimizer; None
            if the model raises in it, or when it is repeated.
        compact: what `mapdrop.torch.compact` would skip; None if only single values are dropped.
        better: the places where it would skip clearly more.
    """

    drops: tuple[AuditedDrop, ...]
    findings: tuple[Finding, ...]
    notes: tuple[Finding, ...]
    unseen: tuple[str, ...]
    step_seconds: float | None
    compact: Report | None
    better: tuple[BetterPlace, ...] = ()

    def __str__(self) -> str:
        text = [*_table(self.drops)] if self.drops else ["no dropout runs in a training step"]
        text += _listed("findings", self.findings) + _listed("notes", self.notes)
        text += ["", *(f"not seen: {reason}" for reason in self.unseen)] if self.unseen else []
        if self.compact is not None:
            text += ["", "what mapdrop.torch.compact would skip:", str(self.compact)]
        return "\n".join(text)


def _table(drops: tuple[AuditedDrop, ...]) -> list[str]:
    names = ("drop", "kind", "p", "dropped", "of", "unit", "calls", "time", "where")
    rows = [names, *(_cells(drop) for drop in drops)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    right = {2, 3, 6, 7}
    return [
        "  ".join(
            cell.rjust(width) if at in right else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _cells(drop: AuditedDrop) -> tuple[str, ...]:
    p = "?" if drop.p is None else f"{drop.p:.4g}"
    of = f"{'x'.join(map(str, drop.shape))} {drop.dtype}"
    numbers = (p, f"{drop.rate:.4f}")
    return (
        drop.name,
        drop.kind,
        *numbers,
        of,
        drop.unit,
        str(drop.calls),
        _percent(drop.share),
        drop.where,
    )


def _percent(share: float | None) -> str:
    return "?" if share is None else f"{share:.1%}"


def _listed(title: str, findings: tuple[Finding, ...]) -> list[str]:
    """List findings, those that say the same once, with their places."""
    groups: dict[tuple[str, str, str], list[Finding]] = {}
    for one in findings:
        groups.setdefault((one.check, one.problem, one.remedy), []).append(one)
    if not findings:
        return [] if title == "notes" else ["", f"no {title}"]
    lines = ["", f"{title}: {len(findings)}"]
    for (check, problem, remedy), ones in groups.items():
        places = [one.place for one in ones]
        more = [f"and {len(places) - _MANY} more"] if len(places) > _MANY else []
        at = ", ".join([*places[:_MANY], *more])
        lines += [f"- {check}: {at}".removesuffix(": "), f"  {problem} {remedy}"]
    return lines
