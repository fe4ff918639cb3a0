"""What the rows say: mean and spread over seeds, and whether a difference is more than spread."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from scipy.stats import t as student_t

from mapdrop.study.conditions import Condition
from mapdrop.study.rows import Row


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

    @property
    def interval(self) -> tuple[float, float] | None:
        """Where the mean of many seeds lies with 95 % (Student's t); None for one seed."""
        if self.spread is None:
            return None
        margin = float(student_t.ppf(0.975, self.seeds - 1)) * self.spread / math.sqrt(self.seeds)
        return self.mean - margin, self.mean + margin


def condition_of(row: Row) -> Condition:
    """Which dropout a row is about."""
    return Condition(row["drop"], row["rate"], row["block_size"])


def runs(rows: Sequence[Row]) -> dict[Condition, list[Row]]:
    """The rows of finished runs by condition, each in the order of seeds."""
    found: dict[Condition, list[Row]] = {}
    for row in rows:
        if row["kind"] == "run":
            found.setdefault(condition_of(row), []).append(row)
    return {c: sorted(of, key=lambda row: int(row["seed"])) for c, of in found.items()}


def step_ratios(rows: Sequence[Row]) -> dict[Condition, float]:
    """Step time against none, by condition."""
    return {condition_of(row): float(row["ratio"]) for row in rows if row["kind"] == "timing"}


def pck_at(row: Row, part: str, radius: float) -> float:
    """In percent."""
    return 100 * float(row["metrics"][part]["pck"][f"{radius:g}"])


def estimate(of: Sequence[Row], value: Callable[[Row], float]) -> Estimate:
    """One figure of a condition's runs."""
    return Estimate.of([value(row) for row in of])


def difference(of: Sequence[Row], base: Sequence[Row], value: Callable[[Row], float]) -> Estimate:
    """`of` less `base`, seed by seed: what both owe to their common start cancels out."""
    start = {row["seed"]: value(row) for row in base}
    return Estimate.of([value(row) - start[row["seed"]] for row in of])


def best_of_each_drop(rows: Sequence[Row], radius: float) -> list[Condition]:
    """Each kind of dropout at the rate with the highest mean test PCK, in the order of the rows."""
    best: dict[str, tuple[float, Condition]] = {}
    for condition, of in runs(rows).items():
        mean = estimate(of, lambda row: pck_at(row, "test", radius)).mean
        if condition.drop not in best or mean > best[condition.drop][0]:
            best[condition.drop] = (mean, condition)
    return [condition for _, condition in best.values()]
