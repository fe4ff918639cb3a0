"""Summarise rows: means and spreads over seeds, and the rates chosen by validation."""

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
        seeds: number of seeds.
    """

    mean: float
    spread: float | None
    seeds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Estimate:
        """Estimate from at least one value."""
        return cls(fmean(values), stdev(values) if len(values) > 1 else None, len(values))


def train_sizes(rows: Sequence[Row]) -> list[int]:
    """Return the numbers of training images, ascending."""
    return sorted({row["train_size"] for row in rows if row["kind"] == "run"})


def runs(rows: Sequence[Row], train_size: int) -> dict[Condition, list[Row]]:
    """Return the finished runs with a training size, by condition, each ordered by seed.

    Only seeds that finished in every condition count, so that comparisons are fair even for an
    interrupted study or one with failed cells. Conditions are in the order of their timing rows,
    which is that of the grid.
    """
    found: dict[Condition, dict[int, Row]] = {condition: {} for condition in timings(rows)}
    for row in rows:
        if row["kind"] == "run" and row["train_size"] == train_size:
            found[Condition.from_row(row)][row["seed"]] = row
    found = {condition: by_seed for condition, by_seed in found.items() if by_seed}
    complete = (
        sorted(set.intersection(*(set(by_seed) for by_seed in found.values()))) if found else []
    )
    return {condition: [by_seed[seed] for seed in complete] for condition, by_seed in found.items()}


def failures(rows: Sequence[Row]) -> dict[Cell, str]:
    """Return the cells that failed and have not been run since, with their errors."""
    failed = {Cell.from_row(row): row["error"] for row in rows if row["kind"] == "failed"}
    done = {Cell.from_row(row) for row in rows if row["kind"] == "run"}
    return {cell: error for cell, error in failed.items() if cell not in done}


def timings(rows: Sequence[Row]) -> dict[Condition, Row]:
    """Return the timing rows by condition."""
    return {Condition.from_row(row): row for row in rows if row["kind"] == "timing"}


def costs(rows: Sequence[Row]) -> Costs | None:
    """Return the study's constants for compact models; None if it has none of this version."""
    names = {field.name for field in fields(Costs)}
    found = [row["costs"] for row in rows if row["kind"] == "costs" and set(row["costs"]) == names]
    return Costs(**found[-1]) if found else None


def pck_at(row: Row, part: str, radius: float) -> float:
    """Return a run's PCK in percent."""
    return 100 * float(row["metrics"][part]["pck"][f"{radius:g}"])


def estimate(rows: Sequence[Row], value: Callable[[Row], float]) -> Estimate:
    """Estimate one value of a condition's runs."""
    return Estimate.of([value(row) for row in rows])


def chosen(found: dict[Condition, list[Row]], radius: float) -> list[Condition]:
    """Return each kind of dropout at the rate with the highest mean PCK on validation images.

    On a tie, and without validation images, the first rate is chosen. The order is that of `found`.

    Args:
        found: as returned by `runs`, with at least one seed.
    """
    best: dict[str, tuple[float, Condition]] = {}
    for condition, rows in found.items():
        validated = all("validation" in row["metrics"] for row in rows)
        mean = 0.0
        if validated:
            mean = estimate(rows, lambda row: pck_at(row, "validation", radius)).mean
        if condition.drop not in best or mean > best[condition.drop][0]:
            best[condition.drop] = (mean, condition)
    return [condition for _, condition in best.values()]
