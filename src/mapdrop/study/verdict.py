"""State a study's findings in sentences, and what it cannot tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mapdrop.study.bootstrap import Interval, difference
from mapdrop.study.conditions import Condition
from mapdrop.study.rows import Row
from mapdrop.study.summary import chosen, failures, runs, timings, train_sizes
from mapdrop.system.printable import count


@dataclass(frozen=True)
class Findings:
    """The findings for one number of training images.

    Attributes:
        train_size: the number.
        runs: the rows of each condition.
        best: each dropout at the rate that validation chose; the first is the base.
        differences: test PCK at the smaller radius minus the base's, for the others of `best`.
    """

    train_size: int
    runs: dict[Condition, list[Row]]
    best: list[Condition]
    differences: dict[Condition, Interval]

    @property
    def base(self) -> Condition:
        """Return the condition that the others are compared with."""
        return self.best[0]

    @property
    def significant(self) -> dict[Condition, Interval]:
        """Return the differences whose intervals exclude 0."""
        return {
            condition: interval
            for condition, interval in self.differences.items()
            if interval.significant
        }

    @property
    def seeds(self) -> int:
        """Return the number of seeds of each condition."""
        return len(self.runs[self.base])


def findings(rows: Sequence[Row]) -> list[Findings]:
    """Return the findings for each number of training images with a complete seed, ascending.

    Args:
        rows: of a study, the first of kind "study".
    """
    radius = rows[0]["data"]["radii"][0]
    found = []
    for size in train_sizes(rows):
        finished = runs(rows, size)
        if not all(finished.values()):
            continue
        best = chosen(finished, radius)
        differences = {
            condition: difference(finished[condition], finished[best[0]], radius)
            for condition in best[1:]
        }
        found.append(Findings(size, finished, best, differences))
    return found


def verdict(rows: Sequence[Row]) -> str:
    """State the finding with the most training images, and those with fewer."""
    found = findings(rows)
    if not found:
        return "No seed has run in every condition yet, so there is nothing to compare."
    return " ".join([_with_most_images(rows, found[-1]), *_with_fewer_images(found[:-1])])


def _with_most_images(rows: Sequence[Row], last: Findings) -> str:
    radius = rows[0]["data"]["radii"][0]
    where = f"On {rows[0]['data']['name']} with {last.train_size} training images"
    if not last.differences:
        return f"{where} only {last.base.label} was run, so there is nothing to compare."
    significant = last.significant
    candidates = significant or last.differences
    condition, interval = max(candidates.items(), key=lambda item: item[1].value)
    if not significant:
        return (
            f"{where} no dropout is shown to differ from {last.base.label}: the highest, "
            f"{condition.label}, is {_points(interval, radius)}."
        )
    if interval.value > 0:
        return f"{where} the highest is {condition.label}: {_points(interval, radius)}."
    return (
        f"{where} no dropout is shown to help, and {len(significant)} of {len(last.differences)} "
        f"to harm; the least harmful of these, {condition.label}, is {_points(interval, radius)}."
    )


def _with_fewer_images(found: Sequence[Findings]) -> list[str]:
    if not any(of.differences for of in found):
        return []
    parts = []
    for of in (of for of in found if of.significant):
        condition, interval = max(of.significant.items(), key=lambda item: item[1].value)
        parts.append(f"{condition.label}, {interval.value:+.1f} with {of.train_size}")
    if not parts:
        return ["With fewer images no difference is shown."]
    return [f"With fewer images the highest that is shown to differ: {'; '.join(parts)}."]


def _points(interval: Interval, radius: float) -> str:
    return (
        f"{interval.value:+.1f} points of joints within {radius:g} px "
        f"({format_interval(interval)}, {count(interval.seeds, 'seed')})"
    )


def format_interval(interval: Interval) -> str:
    """Format a 95 % interval."""
    return f"95 %: {interval.low:+.1f} to {interval.high:+.1f}"


def describe_difference(interval: Interval) -> str:
    """Say whether an interval shows a difference."""
    if interval.seeds == 1:
        return "one seed: no difference is shown"
    return "a difference" if interval.significant else "within what chance does"


def limits(rows: Sequence[Row]) -> list[str]:
    """List what the results don't cover."""
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
    if found and len(found[-1].differences) > 1:
        lines.append(
            f"{len(found[-1].differences)} intervals at 95 % for each number of images: one in "
            "twenty leaves out 0 by chance."
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
