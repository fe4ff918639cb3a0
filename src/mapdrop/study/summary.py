"""What the rows say: mean and spread over seeds, and the rate that validation chose."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from statistics import fmean, stdev

from mapdrop.study.conditions import Condition
from mapdrop.study.grid import Cell
from mapdrop.study.rows import Row
from mapdrop.torch.compact import Costs


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds.

    Attributes:
        mean: over the seeds.
        spread: their standard deviation (n - 1); None when there is only one.
        seeds: how many.
    """

    mean: float
    spread: float | None
    seeds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Estimate:
        """Of at least one value."""
        return cls(fmean(values), stdev(values) if len(values) > 1 else None, len(values))


def condition_of(row: Row) -> Condition:
    """Which dropout a row is about."""
    return Condition(row["drop"], row["rate"], row["block_size"])


def train_sizes(rows: Sequence[Row]) -> list[int]:
    """Numbers of training images, rising."""
    return sorted({row["train_size"] for row in rows if row["kind"] == "run"})


def runs(rows: Sequence[Row], train_size: int) -> dict[Condition, list[Row]]:
    """The rows of finished runs of a training size by condition, each in the order of seeds.

    Only seeds that ran in every condition count, so that like is compared with like: an
    interrupted study, or one with failed cells, says less but nothing crooked. In the order in
    which their steps were timed, which is that of the grid.
    """
    found: dict[Condition, dict[int, Row]] = {condition: {} for condition in timings(rows)}
    for row in rows:
        if row["kind"] == "run" and row["train_size"] == train_size:
            found[condition_of(row)][row["seed"]] = row
    found = {condition: of for condition, of in found.items() if of}
    complete = sorted(set.intersection(*(set(of) for of in found.values()))) if found else []
    return {condition: [of[seed] for seed in complete] for condition, of in found.items()}


def failures(rows: Sequence[Row]) -> dict[Cell, str]:
    """Cells that failed and have not been run since, and why."""
    failed = {Cell.of(row): row["error"] for row in rows if row["kind"] == "failed"}
    done = {Cell.of(row) for row in rows if row["kind"] == "run"}
    return {cell: error for cell, error in failed.items() if cell not in done}


def timings(rows: Sequence[Row]) -> dict[Condition, Row]:
    """What a step costs, by condition."""
    return {condition_of(row): row for row in rows if row["kind"] == "timing"}


def costs(rows: Sequence[Row]) -> Costs | None:
    """The constants that the study's compact steps were decided by, unless they are another
    version's, or there are none yet."""
    names = {field.name for field in fields(Costs)}
    found = [row["costs"] for row in rows if row["kind"] == "costs" and set(row["costs"]) == names]
    return Costs(**found[-1]) if found else None


def pck_at(row: Row, part: str, radius: float) -> float:
    """In percent."""
    return 100 * float(row["metrics"][part]["pck"][f"{radius:g}"])


def estimate(of: Sequence[Row], value: Callable[[Row], float]) -> Estimate:
    """One figure of a condition's runs."""
    return Estimate.of([value(row) for row in of])


def chosen(found: dict[Condition, list[Row]], radius: float) -> list[Condition]:
    """Each kind of dropout at the rate with the highest mean PCK on the validation images.

    Of equal ones the first, and so where there are no validation images. In the order of the rows.

    Args:
        found: as `runs` returns it, with at least one seed.
    """
    best: dict[str, tuple[float, Condition]] = {}
    for condition, of in found.items():
        there = all("validation" in row["metrics"] for row in of)
        mean = estimate(of, lambda row: pck_at(row, "validation", radius)).mean if there else 0.0
        if condition.drop not in best or mean > best[condition.drop][0]:
            best[condition.drop] = (mean, condition)
    return [condition for _, condition in best.values()]
