"""What a study says, in sentences: the outcome, and what it cannot tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mapdrop.study.bootstrap import Interval, difference
from mapdrop.study.conditions import Condition
from mapdrop.study.rows import Row
from mapdrop.study.summary import chosen, failures, runs, timings, train_sizes


@dataclass(frozen=True)
class Findings:
    """What was found with one number of training images.

    Attributes:
        train_size: how many.
        runs: the rows of each condition.
        best: each dropout at the rate that validation chose; the first is the base.
        gaps: PCK on test at the smaller radius less the base's, for the others of `best`.
    """

    train_size: int
    runs: dict[Condition, list[Row]]
    best: list[Condition]
    gaps: dict[Condition, Interval]

    @property
    def base(self) -> Condition:
        """What the others are held against."""
        return self.best[0]

    @property
    def settled(self) -> dict[Condition, Interval]:
        """The gaps that are differences."""
        return {condition: gap for condition, gap in self.gaps.items() if gap.settled}

    @property
    def seeds(self) -> int:
        """How many there are of every condition."""
        return len(self.runs[self.base])


def findings(rows: Sequence[Row]) -> list[Findings]:
    """For each number of training images, rising; none for those without a complete seed.

    Args:
        rows: of a study, the first of kind "study".
    """
    radius = rows[0]["data"]["radii"][0]
    found = []
    for size in train_sizes(rows):
        of = runs(rows, size)
        if not all(of.values()):
            continue
        best = chosen(of, radius)
        gaps = {c: difference(of[c], of[best[0]], radius) for c in best[1:]}
        found.append(Findings(size, of, best, gaps))
    return found


def verdict(rows: Sequence[Row]) -> str:
    """The outcome with the most training images in a sentence, and with fewer in another."""
    found = findings(rows)
    if not found:
        return "No seed has run in every condition yet, so there is nothing to compare."
    return " ".join([_most(rows, found[-1]), *_fewer(found[:-1])])


def _most(rows: Sequence[Row], last: Findings) -> str:
    radius = rows[0]["data"]["radii"][0]
    where = f"On {rows[0]['data']['name']} with {last.train_size} training images"
    if not last.gaps:
        return f"{where} only {last.base.label} was run, so there is nothing to compare."
    settled = last.settled
    condition, gap = max((settled or last.gaps).items(), key=lambda item: item[1].value)
    if not settled:
        return (
            f"{where} no dropout is shown to differ from {last.base.label}: the highest, "
            f"{condition.label}, is {_points(gap, radius)}."
        )
    if gap.value > 0:
        return f"{where} the highest is {condition.label}: {_points(gap, radius)}."
    return (
        f"{where} no dropout is shown to help, and {len(settled)} of {len(last.gaps)} to harm; the "
        f"least harmful of these, {condition.label}, is {_points(gap, radius)}."
    )


def _fewer(found: Sequence[Findings]) -> list[str]:
    if not any(of.gaps for of in found):
        return []
    parts = []
    for of in (of for of in found if of.settled):
        condition, gap = max(of.settled.items(), key=lambda item: item[1].value)
        parts.append(f"{condition.label}, {gap.value:+.1f} with {of.train_size}")
    if not parts:
        return ["With fewer images no difference is shown."]
    return [f"With fewer images the highest that is shown to differ: {'; '.join(parts)}."]


def _points(gap: Interval, radius: float) -> str:
    return (
        f"{gap.value:+.1f} points of joints within {radius:g} px "
        f"({interval(gap)}, {count(gap.seeds, 'seed')})"
    )


def interval(gap: Interval) -> str:
    """Where a figure lies with 95 %."""
    return f"95 %: {gap.low:+.1f} to {gap.high:+.1f}"


def worth(gap: Interval) -> str:
    """What an interval says of a difference."""
    if gap.seeds == 1:
        return "one seed: no difference is shown"
    return "a difference" if gap.settled else "within what chance does"


def limits(rows: Sequence[Row]) -> list[str]:
    """What the figures don't cover."""
    study, found = rows[0], findings(rows)
    data, settings = study["data"], study["settings"]
    lines = []
    if found and found[-1].seeds < 5:
        lines.append(
            f"{count(found[-1].seeds, 'seed')} can't show a small difference, and an interval from "
            "so few is too narrow rather than too wide; more can (--seeds)."
        )
    lines += [
        f"One split of the data, {count(data['test'], 'test image')}: the intervals are over seeds "
        "(start weights, order and shifts of images, masks) and over which images test, not over "
        "which images train (--data-seed).",
        f"The network is small and briefly trained: width {settings['width']} (the paper: 128), "
        f"{settings['recipe']['steps']} steps. With more of either the order may change.",
        data["limits"],
    ]
    conditions = found[-1].runs if found else {}
    several = len({condition.drop for condition in conditions}) < len(conditions)
    if several and not data["validation"]:
        lines.append("No validation image chose among rates: the first stands for its dropout.")
    elif several:
        lines.append(
            f"Rates were chosen on {count(data['validation'], 'validation image')}, which "
            "is chance, too; the test figures of the chosen ones are not biased by that."
        )
    else:
        lines.append("Each dropout ran at one rate; another may suit this task better (--rates).")
    if found and len(found[-1].gaps) > 1:
        lines.append(
            f"{len(found[-1].gaps)} intervals at 95 % for each number of images: one in twenty "
            "leaves out 0 by chance."
        )
    if failed := failures(rows):
        lines.append(
            f"{count(len(failed), 'run')} failed, and the seeds they were of are left out."
        )
    for timing in list(timings(rows).values())[:1]:
        lines.append(
            f"Step times are medians of {timing['rounds']} interleaved steps on this machine "
            f"({count(study['machine']['threads'], 'thread')}); small differences are noise. "
            "Memory is what a step's tensors take at most."
        )
    return lines


def count(number: int, noun: str) -> str:
    """ "1 seed", "3 seeds"."""
    return f"{number} {noun}" + "s" * (number != 1)
